"""A reference picture through the service: drawn when the model has an encoder, otherwise a clear refusal."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model import BFSPipeline
from bfs_model.tiny.components import TEST, random_components
from bfs_model.tiny.flux_fill import random_redux_parts
from bfs_serve.api.service import unsupported
from bfs_serve.job.engine import Request, Settings
from bfs_serve.model.engine import PipelineEngine


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained bundle with a reference encoder, and one without."""
    root, parts = tmp_path_factory.mktemp("bundles"), random_components(TEST)
    BFSPipeline(**parts, window_size=TEST.window_size).save_pretrained(root / "without")
    BFSPipeline(**parts, **random_redux_parts(TEST.text_dim), window_size=TEST.window_size).save_pretrained(root / "with")
    return root / "with", root / "without"


def test_a_reference_changes_the_layer(folders: tuple[Path, Path]) -> None:
    """An engine whose bundle carries an encoder says so and draws by the picture; another picture, another layer."""
    engine = PipelineEngine("with", PipelineEngine.locate(str(folders[0])))
    assert engine.info.capabilities == ("reference",)
    background = Image.new("RGB", (48, 32), "gray")
    shown = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)) for seed in (1, 2)]
    asked = [("a red ball", None), ("a red ball", shown[0]), ("a red ball", shown[1]), ("", shown[0])]
    layers = set()
    for prompt, reference in asked:
        request = Request(background, (8, 4, 40, 28), prompt, 7, reference=reference)
        (drawn,) = engine.draw([request], Settings(steps=3), lambda done, total, preview: None, lambda: False)
        layers.add(drawn.layer.tobytes())
    assert len(layers) == 4, "the last one by the picture alone"


def test_without_an_encoder_the_refusal_names_the_remedy(folders: tuple[Path, Path]) -> None:
    """422 unsupported-by-model, before anything is drawn."""
    engine = PipelineEngine("without", PipelineEngine.locate(str(folders[1])))
    assert engine.info.capabilities == ()
    problem = unsupported(["reference"], engine.info)
    assert (problem.status, problem.slug) == (422, "unsupported-by-model")
    assert "cannot do reference; leave it out or ask a model that can: a bundle that carries a reference encoder." in problem.detail
