"""The real engine on a tiny bundle with random weights."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.integrity import read_manifest
from bfs_platform.tabletop import vocabulary as tabletop
from bfs_serve.job.engine import Canceled, Pin, Request, Settings
from bfs_serve.model.engine import PipelineEngine


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder in the real layout."""
    from bfs_model.tiny import components as tiny

    path = tmp_path_factory.mktemp("models") / "bundle"
    tiny.random_bundle(path, tiny.TEST)
    return path


def loaded(bundle: Path) -> PipelineEngine:
    return PipelineEngine("mine", PipelineEngine.locate(str(bundle)))


def test_the_pipeline_draws_a_full_size_layer(bundle: Path) -> None:
    """Any size of background; steps are reported; the seed decides."""
    engine = loaded(bundle)
    assert engine.info.version == read_manifest(bundle)["content_hash"] and engine.info.name == "mine"
    background = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    steps: list[tuple[int, int]] = []

    def draw(seed: int) -> np.ndarray:
        request = Request(background, (5, 3, 31, 29), "a ball", seed)
        (out,) = engine.draw([request], Settings(steps=2), lambda done, total, preview: steps.append((done, total)), lambda: False)
        return np.asarray(out.layer)

    layer = draw(7)
    assert steps == [(1, 2), (2, 2)] and layer.shape == (37, 53, 4)
    np.testing.assert_array_equal(draw(7), layer)
    assert (draw(8) != layer).any()


def test_candidates_are_what_their_seeds_give_alone(bundle: Path) -> None:
    """Bitwise, whatever other requests they are drawn with; steps are told of all of them together."""
    engine = loaded(bundle)
    background = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    requests = [Request(background, (5, 3, 31, 29), "a ball", seed) for seed in (7, 8, 9)]
    steps: list[tuple[int, int]] = []

    def draw(some: list[Request]) -> list[np.ndarray]:
        drawn = engine.draw(some, Settings(steps=2), lambda done, total, preview: steps.append((done, total)), lambda: False)
        return [np.asarray(generation.layer) for generation in drawn]

    together = draw(requests)
    assert steps == [(done, 6) for done in range(1, 7)]
    np.testing.assert_array_equal(np.stack([draw([request])[0] for request in requests]), np.stack(together))


def test_a_layer_is_extracted(bundle: Path) -> None:
    """From two pictures of one size."""
    background, finished = (Image.new("RGB", (40, 30), colour) for colour in ("gray", "red"))
    request = Request(background, (5, 3, 31, 29), "", 7, composite=finished)
    (out,) = loaded(bundle).draw([request], Settings(steps=2, refit=True), lambda done, total, preview: None, lambda: False)
    assert out.layer.mode == "RGBA" and out.layer.size == (40, 30)


def test_cancellation_stops_after_the_step(bundle: Path) -> None:
    """One step of many is made."""
    wanted, steps = threading.Event(), []

    def on_step(step: int, total: int, preview: object) -> None:
        steps.append(step)
        wanted.set()

    request = Request(Image.new("RGB", (48, 48)), (5, 3, 31, 29), "a ball", 7)
    with pytest.raises(Canceled):
        loaded(bundle).draw([request], Settings(steps=50), on_step, wanted.is_set)
    assert steps == [1]


def test_a_model_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """A missing folder, and a folder without a manifest."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BadInput):
            PipelineEngine.locate(str(path))


def test_what_changed_since_it_was_found_is_not_served(bundle: Path) -> None:
    """A name that means another version while it is being loaded never gets the wrong label."""
    pin = PipelineEngine.locate(str(bundle))
    with pytest.raises(BadInput, match="has changed"):
        PipelineEngine("mine", Pin(pin.uri, "0" * 64))


def test_previews_show_the_layer_as_it_will_be(bundle: Path) -> None:
    """Each is small, has the picture's shape, and stays clear where the window of the model does not reach."""
    background, shown = Image.new("RGB", (640, 320), "gray"), []
    request = Request(background, (20, 200, 60, 240), "a ball", 7)

    def on_step(done: int, total: int, preview: object) -> None:
        assert callable(preview)
        shown.append(preview()[0])

    (out,) = loaded(bundle).draw([request], Settings(steps=2), on_step, lambda: False)
    assert [(picture.mode, picture.size) for picture in shown] == [("RGBA", (256, 128))] * 2
    assert np.asarray(shown[-1])[:, 128:, 3].max() == 0
    final, last = (np.asarray(picture.resize((256, 128)).convert("RGBA")).astype(int)[..., 3] for picture in (out.layer, shown[-1]))
    assert np.abs(final - last).mean() < 8  # the last step ends where its estimate points


def test_a_model_of_few_words_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model offers what its captions were made of, as prompts say it; words that it would have to spell are left out."""
    monkeypatch.setattr(tabletop, "SHAPES", (*tabletop.SHAPES, "lighthouse"))
    vocabulary = PipelineEngine("tiny", PipelineEngine.locate("tiny")).info.vocabulary
    assert vocabulary is not None and list(vocabulary) == ["size", "colour", "material", "shape"]
    assert "glossy plastic" in vocabulary["material"] and vocabulary["shape"] == list(tabletop.WORLDS[2])
