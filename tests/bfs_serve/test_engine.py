"""The real engine on a tiny bundle with random weights."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.integrity import read_manifest
from bfs_serve.engine import PipelineEngine
from bfs_serve.orders import Canceled


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder in the real layout."""
    from bfs_model import tiny

    path = tmp_path_factory.mktemp("models") / "bundle"
    tiny.random_bundle(path, tiny.TEST)
    return path


def test_the_pipeline_draws_a_full_size_layer(bundle: Path) -> None:
    """Any size of background; steps are reported; the seed decides."""
    engine = PipelineEngine(str(bundle))
    assert engine.info.version == read_manifest(bundle)["content_hash"] == PipelineEngine.locate(str(bundle))
    background = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    steps: list[tuple[int, int]] = []

    def draw(seed: int) -> np.ndarray:
        out = engine.generate(background, (5, 3, 31, 29), "a ball", seed, 2, lambda *step: steps.append(step), lambda: False)
        return np.asarray(out.layer)

    layer = draw(7)
    assert steps == [(1, 2), (2, 2)] and layer.shape == (37, 53, 4)
    np.testing.assert_array_equal(draw(7), layer)
    assert (draw(8) != layer).any()


def test_cancellation_stops_after_the_step(bundle: Path) -> None:
    """One step of many is made."""
    engine, wanted, steps = PipelineEngine(str(bundle)), threading.Event(), []

    def on_step(step: int, total: int) -> None:
        steps.append(step)
        wanted.set()

    with pytest.raises(Canceled):
        engine.generate(Image.new("RGB", (48, 48)), (5, 3, 31, 29), "a ball", 7, 50, on_step, wanted.is_set)
    assert steps == [1]


def test_a_model_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """A missing folder, and a folder without a manifest."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BadInput):
            PipelineEngine.locate(str(path))
