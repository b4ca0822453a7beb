"""The two-step alternative and the VAE's ceiling, with an untrained pipeline of the real classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.tiny.components import random_bundle
from bfs_platform.evaluate.samples import Sample, list_entries, read_sample
from bfs_platform.evaluate.system.baselines import find_baseline
from bfs_platform.evaluate.system.fakes import FakeDisc
from bfs_platform.evaluate.system.models import PipelineModel
from bfs_platform.evaluate.system.two_step import _changed, _fill_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PipelineModel:
    """A pipeline with random weights, 32×32."""
    pipeline = BFSPipeline.from_pretrained(random_bundle(tmp_path_factory.mktemp("two-step") / "bundle"))
    pipeline.set_progress_bar_config(disable=True)
    return PipelineModel(pipeline)


@pytest.fixture
def sample(make_source) -> Sample:
    """One scene: an 8×8 object and a 4×8 shadow on 24×24."""
    root = make_source(1)
    return read_sample(list_entries(root)[0], root, 10**6)


@pytest.mark.parametrize("name", ["two_step", "vae_truth"])
def test_they_deliver_layers_of_the_pictures_size(model, sample, name) -> None:
    """Both give RGBA on the full canvas, the same one for the same seed, and two-step nothing outside the box's surroundings."""
    baseline = find_baseline(name)(model)
    first, again = baseline.predict(sample, 3, 2), baseline.predict(sample, 3, 2)
    assert first.layer.mode == "RGBA" and first.layer.size == first.composite.size == (24, 24)
    assert np.array_equal(np.asarray(first.layer), np.asarray(again.layer))
    if name == "two_step":
        rows, columns = np.nonzero(np.asarray(first.layer)[..., 3])
        assert rows.size and (rows >= 6).all() and (rows < 18).all() and (columns >= 4).all() and (columns < 16).all()


def test_two_step_leaves_the_model_as_it_was(model, sample) -> None:
    """Information sharing is back in place afterwards: the model draws what it drew before."""
    box = (6, 8, 14, 16)
    before = model.draw(_image(sample), box, "cube", 1, 2).layer.tobytes()
    find_baseline("two_step")(model).predict(sample, 0, 2)
    assert model.draw(_image(sample), box, "cube", 1, 2).layer.tobytes() == before


def test_two_step_is_guided_as_the_model_is(model, sample) -> None:
    """Its picture from one step is that of the formula, from the passes with and without the prompt; the hook is gone afterwards."""
    plain = _one_step(model, sample)
    without = _one_step(model, replace(sample, caption=""))
    model.pipeline.register_to_config(true_cfg_scale=3.0)
    try:
        guided = _one_step(model, sample)
    finally:
        model.pipeline.register_to_config(true_cfg_scale=1.0)
    assert np.abs(plain - without).max() > 1e-3, "the prompt changes nothing: the test would prove nothing"
    np.testing.assert_allclose(guided, without + 3 * (plain - without), rtol=0, atol=1e-4)
    assert np.array_equal(_one_step(model, sample), plain)


def _one_step(model: PipelineModel, sample: Sample) -> np.ndarray:
    """The latent that the inpainting pipeline arrives at in one step."""
    pictures = {"image": _image(sample).resize((32, 32)), "mask_image": Image.new("L", (32, 32), 255)}
    settings = {"height": 32, "width": 32, "num_inference_steps": 1, "max_sequence_length": 16, "output_type": "latent"}
    with _fill_pipeline(model.pipeline) as fill:
        out = fill(prompt=sample.caption, **pictures, **settings, generator=torch.Generator().manual_seed(1))
    return np.asarray(out.images)


def test_what_changed_is_the_largest_piece_without_holes() -> None:
    """Specks and what lies outside the box do not belong to the object; a hole in it does."""
    before = np.full((16, 16, 3), 100, np.uint8)
    after = before.copy()
    after[3:9, 3:9] = 200
    after[5, 5] = 100  # a hole
    after[12, 12] = 200  # a speck
    after[0, 0] = 200  # outside the box
    after[10, 3:6] = 110  # invisible
    inside = np.zeros((16, 16), bool)
    inside[1:15, 1:15] = True
    expected = np.zeros((16, 16), bool)
    expected[3:9, 3:9] = True
    assert np.array_equal(_changed(before, after, inside), expected)
    assert not _changed(before, before, inside).any()


def test_they_need_a_pipeline() -> None:
    """A model that is no BFSPipeline has no backbone to inpaint with: said at the start."""
    with pytest.raises(BadInput, match="needs a BFSPipeline"):
        find_baseline("two_step")(FakeDisc())


def test_another_model_as_a_baseline(model, sample, tmp_path) -> None:
    """`NAME=FOLDER` draws with the model in that folder; a folder that is none, or a taken name, is refused at once."""
    folder = random_bundle(tmp_path / "other", seed=5)
    other = find_baseline(f"ablation={folder}")(model).predict(sample, 3, 2)
    assert other.layer.tobytes() != model.draw(_image(sample), (6, 8, 14, 16), sample.caption, sample.seed(3), 2).layer.tobytes()
    for wrong in (f"truth={folder}", f"={folder}", "ablation=/nowhere"):
        with pytest.raises(BadInput):
            find_baseline(wrong)


def _image(sample: Sample):
    from PIL import Image

    return Image.fromarray(sample.background)
