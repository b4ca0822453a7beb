"""Step caches on the dual branch: what they skip, what they change, and that images and calls do not see each other's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.sampling.step_cache import FirstBlock, StepCache, TaylorSeer, of
from bfs_model.tiny.components import TEST, random_components

BOX = (5, 7, 19, 23)
STEPS = 8
BOLD = FirstBlock(0.35)  # untrained weights move much from step to step


@pytest.fixture
def pipe() -> BFSPipeline:
    """Untrained components with stirred sharing weights: the branches exchange messages."""
    parts = random_components(TEST)
    torch.manual_seed(5)
    for block in parts["sharing"].blocks:
        torch.nn.init.normal_(block.lora.up, std=0.3)
        torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    made = BFSPipeline(**parts, window_size=TEST.window_size)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def background() -> Image.Image:
    """A picture of noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


def _draw(pipe: BFSPipeline, background: Image.Image, cache: str | StepCache | None, seed: int = 1, **more: Any) -> torch.Tensor:
    settings = {"num_inference_steps": STEPS, "output_type": "latent"} | more
    out = pipe(background, BOX, "a red cube", seed=seed, step_cache=cache, **settings)
    return torch.stack([*out.composites, *out.foregrounds])


@contextmanager
def _computed(pipe: BFSPipeline) -> Iterator[list[int]]:
    """Collects, for each time the last block ran, how many rows it saw."""
    rows: list[int] = []
    layer = pipe.transformer.single_transformer_blocks[-1].proj_mlp
    handle = layer.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    yield rows
    handle.remove()


@pytest.mark.parametrize(("cache", "num_computed"), [(BOLD, None), (TaylorSeer(interval=3, warmup_steps=2), 4)])
def test_skips_steps_and_stays_near(pipe: BFSPipeline, background: Image.Image, cache: StepCache, num_computed: int | None) -> None:
    """Some steps run only the first block, or none; both branches, always together, stay nearer than another seed's."""
    whole = _draw(pipe, background, "none")
    with _computed(pipe) as rows:
        cached = _draw(pipe, background, cache)
    assert set(rows) == {2}
    assert len(rows) < STEPS if num_computed is None else len(rows) == num_computed
    assert 0 < (cached - whole).square().mean() < 0.2 * (whole - _draw(pipe, background, "none", seed=2)).square().mean()


@pytest.mark.parametrize("cache", [BOLD, TaylorSeer(interval=3, warmup_steps=2)])
def test_a_call_remembers_nothing(pipe: BFSPipeline, background: Image.Image, cache: StepCache) -> None:
    """After another request, and after one that was stopped in the middle, a cached call gives the same bits."""
    first = _draw(pipe, background, cache)

    def stop(*arguments: Any) -> dict[str, Any]:
        raise InterruptedError

    _draw(pipe, background, cache, seed=9)
    with pytest.raises(InterruptedError):
        _draw(pipe, background, cache, seed=3, callback_on_step_end=stop)
    assert torch.equal(first, _draw(pipe, background, cache))
    assert not pipe.transformer.is_cache_enabled


def test_images_of_a_batch_decide_alone(pipe: BFSPipeline, background: Image.Image) -> None:
    """Under the first-block cache the images of a batch skip what they would skip alone, each another number of steps.

    Up to rounding: text and background are encoded as a batch, whose matrix sizes sum in another order.
    """
    orders = [("a red cube", 1), ("a small sphere", 4), ("a cone", 6)]
    settings: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent", "step_cache": FirstBlock(0.3)}
    single, numbers = [], []
    for prompt, seed in orders:
        with _computed(pipe) as rows:
            single.append(pipe(background, BOX, prompt, seed=seed, **settings))
        numbers.append(len(rows))
    with _computed(pipe) as rows:
        batch = pipe(background, BOX, [p for p, _ in orders], seed=[s for _, s in orders], **settings)
    assert len(rows) == sum(numbers) and len(set(numbers)) > 1 and set(rows) == {2}
    for i, alone in enumerate(single):
        torch.testing.assert_close(batch.foregrounds[i], alone.foregrounds[0], atol=SAMPLING, rtol=0)
        torch.testing.assert_close(batch.composites[i], alone.composites[0], atol=SAMPLING, rtol=0)


def test_taylorseer_keeps_a_batch_whole(pipe: BFSPipeline, background: Image.Image) -> None:
    """It decides by the step's number, so a batch runs as one, and equals single calls up to rounding: other matrix sizes, other sums."""
    cache = TaylorSeer(interval=3, warmup_steps=2)
    with _computed(pipe) as rows:
        batch = pipe(background, BOX, ["a", "b"], seed=[1, 4], num_inference_steps=STEPS, output_type="latent", step_cache=cache)
    assert set(rows) == {4}
    for i, (prompt, seed) in enumerate((("a", 1), ("b", 4))):
        alone = pipe(background, BOX, prompt, seed=seed, num_inference_steps=STEPS, output_type="latent", step_cache=cache)
        torch.testing.assert_close(batch.foregrounds[i], alone.foregrounds[0], atol=SAMPLING, rtol=0)


def test_enabled_for_all_calls_overridden_by_one(pipe: BFSPipeline, background: Image.Image) -> None:
    """What is enabled serves every call; a call may ask for another cache or none; disabling restores the bits."""
    whole = _draw(pipe, background, None)
    pipe.enable_step_cache("taylorseer", interval=4)
    enabled = _draw(pipe, background, None)
    assert torch.equal(enabled, _draw(pipe, background, TaylorSeer(interval=4))) and not torch.equal(enabled, whole)
    assert torch.equal(whole, _draw(pipe, background, "none")) and torch.equal(enabled, _draw(pipe, background, None))
    pipe.enable_step_cache("first_block", threshold=0.35)
    assert torch.equal(_draw(pipe, background, None), _draw(pipe, background, BOLD))
    pipe.disable_step_cache()
    assert torch.equal(whole, _draw(pipe, background, None))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", ["first_block", "taylorseer"])
def test_few_steps_are_computed_whole(pipe: BFSPipeline, background: Image.Image, kind: str, steps: int) -> None:
    """With one or two steps there is nothing to skip: the result is bitwise the uncached one."""
    plain, cached = (_draw(pipe, background, c, num_inference_steps=steps) for c in ("none", kind))
    assert torch.equal(plain, cached)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("firstblock", {}, "did you mean first_block"),
        ("teacache", {}, "is unknown"),
        ("first_block", {"interval": 3}, "it has threshold"),
        ("first_block", {"threshold": 0}, "not between 0 and 1"),
        ("first_block", {"threshold": "0.1"}, "not between 0 and 1"),
        ("taylorseer", {"interval": 1}, "interval=1"),
        ("taylorseer", {"interval": 2.5}, "interval=2.5 is not a whole number of 2 or more"),
        ("none", {"threshold": 0.1}, "is unknown"),
    ],
)
def test_wrong_settings_are_named(kind: str, settings: dict[str, Any], message: str) -> None:
    """An unknown cache, a setting of another one, a value out of range: each is one line."""
    with pytest.raises(BadInput, match=message):
        of(kind, **settings)
