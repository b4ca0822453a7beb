"""A reference picture through the service: drawn when the model has an encoder, otherwise a clear refusal."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bfs_model import BFSPipeline
from bfs_model.tiny import TEST, random_components
from bfs_model.tiny_flux import random_redux_parts
from bfs_serve.engine import PipelineEngine
from bfs_serve.orders import Drawing, Order
from bfs_serve.problems import Problem
from bfs_serve.sampler import draw


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained bundle with a reference encoder, and one without."""
    root, parts = tmp_path_factory.mktemp("bundles"), random_components(TEST)
    BFSPipeline(**parts, window_size=TEST.window_size).save_pretrained(root / "without")
    BFSPipeline(**parts, **random_redux_parts(TEST.text_dim), window_size=TEST.window_size).save_pretrained(root / "with")
    return root / "with", root / "without"


def _draw(engine: PipelineEngine, order: Order) -> Drawing | Problem:
    return draw(engine, order, lambda step, steps: None, lambda: False)


def test_a_reference_changes_the_layer(folders: tuple[Path, Path], order: Order, make_png) -> None:
    """An engine whose bundle carries an encoder says so and draws by the picture; another picture, another layer."""
    engine = PipelineEngine(str(folders[0]))
    assert engine.info.capabilities == ("reference",)
    drawn = [_draw(engine, order), *(_draw(engine, dataclasses.replace(order, reference=make_png(seed=seed))) for seed in (1, 2))]
    drawn.append(_draw(engine, dataclasses.replace(order, reference=make_png(seed=1), prompt="")))
    layers = [np.frombuffer(d.layer_png, np.uint8) for d in drawn if isinstance(d, Drawing)]
    assert len({layer.tobytes() for layer in layers}) == 4, "the last one by the picture alone"


def test_without_an_encoder_the_refusal_names_the_remedy(folders: tuple[Path, Path], order: Order, make_png) -> None:
    """422 unsupported-by-model, before anything is drawn."""
    engine = PipelineEngine(str(folders[1]))
    problem = _draw(engine, dataclasses.replace(order, reference=make_png(seed=1)))
    assert isinstance(problem, Problem)
    assert (problem.status, problem.slug) == (422, "unsupported-by-model")
    assert "cannot do reference; leave it out or serve a model that can: a bundle that carries a reference encoder." in problem.detail
