"""Prompts that were encoded before: same bytes with and without, bounded, counted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bfs_serve.job.engine import Pin, Request, Settings
from bfs_serve.model.engine import PipelineEngine
from bfs_serve.model.prompt_cache import PromptCache


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> PipelineEngine:
    """The real engine on a bundle of random weights."""
    from bfs_model.tiny import components as tiny

    path: Path = tmp_path_factory.mktemp("models") / "bundle"
    tiny.random_bundle(path, tiny.TEST)
    return PipelineEngine("mine", Pin(str(path), PipelineEngine.locate(str(path)).version))


def _layer(engine: PipelineEngine, prompt: str) -> np.ndarray:
    background = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    request = Request(background, (5, 3, 31, 29), prompt, 7)
    (drawn,) = engine.draw([request], Settings(steps=2, true_cfg_scale=2.0), lambda *_: None, lambda: False)
    return np.asarray(drawn.layer)


def test_a_layer_is_the_same_with_and_without(engine: PipelineEngine) -> None:
    """Bitwise; the second time neither the prompt nor the empty one of the guidance is encoded, and both are counted."""
    pipe = engine._pipe
    first, cached = _layer(engine, "a red ball"), pipe.encode_prompt
    assert engine.counted() == {("lookups", "prompts miss"): 2}
    second = _layer(engine, "a red ball")
    assert engine.counted() == {("lookups", "prompts hit"): 2}
    pipe.encode_prompt = type(pipe).encode_prompt.__get__(pipe)
    without = _layer(engine, "a red ball")
    pipe.encode_prompt = cached
    np.testing.assert_array_equal(second, without)
    np.testing.assert_array_equal(first, without)
    assert (_layer(engine, "a green cube") != without).any()


def test_what_is_kept_is_bounded() -> None:
    """By bytes; those longest unused go first. A batch is another thing than its rows."""
    encoded: list[tuple[str, ...]] = []

    def encode(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        encoded.append(tuple(prompts))
        return torch.zeros(len(prompts), 200), torch.zeros(len(prompts), 50)

    cache = PromptCache(encode, max_bytes=2000)
    for prompts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"], ["a", "b"]):
        cache(prompts)
    assert encoded == [("a",), ("b",), ("c",), ("b",), ("a", "b")]
    assert cache.tally.drain() == {("lookups", "prompts miss"): 5, ("lookups", "prompts hit"): 2}
