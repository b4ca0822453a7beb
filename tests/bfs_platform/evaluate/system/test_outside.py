"""Systems of others as baselines: two that run here on random weights, and pictures rendered elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FluxFillPipeline, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from bfs_model.errors import BadInput
from bfs_model.network.text import clip_tokenizer
from bfs_model.picture.compositing import composite_u8
from bfs_model.tiny.components import TEST, random_components
from bfs_platform.evaluate.metric.measure import measure
from bfs_platform.evaluate.samples import Sample, list_entries, read_sample
from bfs_platform.evaluate.system.baselines import find_baseline, system_name
from bfs_platform.evaluate.system.fakes import FakeDisc
from bfs_platform.evaluate.system.truth import Truth


@pytest.fixture
def sample(make_source) -> Sample:
    """One scene of 24 × 24."""
    root = make_source(1)
    return read_sample(list_entries(root)[0], root, 10**6)


@pytest.fixture(scope="module")
def fill_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLUX.1-Fill's layout with random weights."""
    parts = {name: part for name, part in random_components(TEST).items() if name not in ("rgba_vae", "sharing", "compositor")}
    folder = tmp_path_factory.mktemp("fill") / "fill"
    FluxFillPipeline(**parts).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pix2pix_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PaintByInpaint's layout (an InstructPix2Pix) with random weights."""
    tokenizer = clip_tokenizer(["add a red cube"], 16)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=16, **sizes)
    blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            cross_attention_dim=16,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            **blocks,
        )
        down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
        vae = AutoencoderKL(down_block_types=down, up_block_types=up, latent_channels=4, sample_size=32, **blocks)
        parts = {"vae": vae, "unet": unet, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer, "scheduler": DDIMScheduler()}
        optional = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        folder = tmp_path_factory.mktemp("pix2pix") / "pix2pix"
        StableDiffusionInstructPix2PixPipeline(**parts, **optional).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["flux_fill", "paint_by_inpaint"])
def test_they_deliver_a_composite_and_no_layer(kind, fill_folder, pix2pix_folder, sample, monkeypatch) -> None:
    """A picture of the record's size, the same for the same seed; errors of the composite are known, those of a layer are not."""
    monkeypatch.setenv("BFS_ACCEPT_FLUX_LICENCE", "1")
    folder = fill_folder if kind == "flux_fill" else pix2pix_folder
    baseline = find_baseline(f"other={kind}:{folder}")(FakeDisc())
    first, again, other = (baseline.predict(sample, seed, 2) for seed in (0, 0, 1))
    assert first.composite.size == (24, 24) and first.composite.tobytes() == again.composite.tobytes() != other.composite.tobytes()
    figures = measure(first, sample, 0.05)
    expected = np.abs(np.asarray(first.composite).astype(float) - sample.truth).mean() / 255
    assert figures["composite_mae"] == pytest.approx(expected, rel=1e-4)
    assert figures["alpha_iou"] is figures["effect_recall"] is figures["background_changed"] is figures["box_iou"] is None


def test_flux_fill_needs_its_licence(fill_folder, monkeypatch) -> None:
    """Without acceptance the refusal names the licence, before anything is loaded."""
    monkeypatch.delenv("BFS_ACCEPT_FLUX_LICENCE", raising=False)
    with pytest.raises(BadInput, match="Non-Commercial License"):
        find_baseline(f"fill=flux_fill:{fill_folder}")


def test_paint_by_inpaint_is_told_to_add(pix2pix_folder, sample, monkeypatch) -> None:
    """The paper puts "add" before the caption."""
    baseline = find_baseline(f"pbi=paint_by_inpaint:{pix2pix_folder}")(FakeDisc())
    asked = {}
    real = baseline.pipeline

    def spy(**arguments):
        asked.update(arguments)
        return real(**arguments)

    spy.vae_scale_factor = real.vae_scale_factor
    monkeypatch.setattr(baseline, "pipeline", spy)
    baseline.predict(sample, 0, 1)
    assert asked["prompt"] == "add cube 0" and asked["image"].size == (24, 24)


def save(array: np.ndarray, path: Path) -> None:
    """Write a picture where a renderer would have put it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_a_precomputed_layer_is_measured_like_any_other(sample, tmp_path) -> None:
    """The true layer, rendered elsewhere, gives the figures of the truth."""
    truth = Truth().predict(sample, 0, None)
    save(np.asarray(truth.layer), tmp_path / "out/layer" / f"{sample.id}.png")
    baseline = find_baseline(f"layerdiffuse=precomputed:{tmp_path / 'out'}")(FakeDisc())
    assert measure(baseline.predict(sample, 0, None), sample, 0.05) == measure(truth, sample, 0.05)
    assert system_name(f"layerdiffuse=precomputed:{tmp_path}") == "layerdiffuse"


def test_precomputed_pictures_of_every_kind(sample, tmp_path) -> None:
    """A composite alone has no layer; a layer with a background is a decomposition; another size is resampled."""
    found = np.full((24, 24, 3), 90, np.uint8)
    save(np.full((48, 48, 3), 90, np.uint8), tmp_path / "composite" / f"{sample.id}.png")
    baseline = find_baseline(f"x=precomputed:{tmp_path}")(FakeDisc())
    drawn = baseline.predict(sample, 0, None)
    assert not drawn.has_layer and np.array_equal(np.asarray(drawn.composite), found)
    (tmp_path / "composite" / f"{sample.id}.png").unlink()
    layer = np.zeros((24, 24, 4), np.uint8)
    layer[2:9, 3:11] = (10, 20, 30, 128)
    save(layer, tmp_path / "layer" / f"{sample.id}.png")
    save(found, tmp_path / "background" / f"{sample.id}.png")
    drawn = baseline.predict(sample, 0, None)
    assert drawn.has_layer and drawn.background is not None and (np.asarray(drawn.background) == 90).all()
    assert np.array_equal(np.asarray(drawn.composite), composite_u8(layer, found))


def test_what_was_not_rendered_is_named(sample, tmp_path) -> None:
    """A record without pictures fails with its id; an id cannot lead out of the folder."""
    (tmp_path / "layer").mkdir()
    baseline = find_baseline(f"x=precomputed:{tmp_path}")(FakeDisc())
    with pytest.raises(BadInput, match=f"precomputed={sample.id} has neither layer nor composite"):
        baseline.predict(sample, 0, None)
    from dataclasses import replace

    with pytest.raises(BadInput, match="leads out of the folder"):
        baseline.predict(replace(sample, id="../../x"), 0, None)


@pytest.mark.parametrize("name", ["x=precomputed:nowhere", "x=flux_fill:nowhere", "x=paint_by_inpaint:nowhere", "truth=precomputed:x"])
def test_a_wrong_place_is_refused_at_once(name) -> None:
    """Before any record is drawn."""
    with pytest.raises(BadInput):
        find_baseline(name)
