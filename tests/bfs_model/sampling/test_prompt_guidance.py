"""Classifier-free guidance of a backbone that is not distilled: the formula, its default, and step caches beside it."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.sampling.step_cache import TaylorSeer
from bfs_model.tiny.components import TEST, random_bundle, random_components

BOX = (5, 7, 19, 23)


@pytest.fixture(scope="module")
def pipe() -> BFSPipeline:
    """Untrained components with stirred sharing weights: the branches exchange messages, and prompts matter."""
    parts = random_components(TEST)
    torch.manual_seed(5)
    for block in parts["sharing"].blocks:
        torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    made = BFSPipeline(**parts, window_size=TEST.window_size)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def background() -> Image.Image:
    """A picture of noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


def draw(pipe: BFSPipeline, background: Image.Image, prompt: Any = "a large blue metal cone", **settings: Any) -> torch.Tensor:
    out = pipe(background, BOX, prompt, seed=1, output_type="latent", **({"num_inference_steps": 3} | settings))
    return torch.stack([*out.composites, *out.foregrounds])


def test_one_step_is_the_formula(pipe: BFSPipeline, background: Image.Image) -> None:
    """From the same noise, guided = without + w·(prompted − without), for both branches."""
    prompted, without = (draw(pipe, background, prompt, num_inference_steps=1) for prompt in ("a large blue metal cone", ""))
    guided = draw(pipe, background, num_inference_steps=1, true_cfg_scale=3.0)
    assert (prompted - without).abs().max() > 10 * SAMPLING, "the prompt changes nothing: the test would prove nothing"
    torch.testing.assert_close(guided, without + 3 * (prompted - without), atol=SAMPLING, rtol=0)


def test_one_is_the_model_itself(pipe: BFSPipeline, background: Image.Image) -> None:
    """The default and 1 draw the same, bitwise; more does not."""
    plain = draw(pipe, background)
    assert torch.equal(draw(pipe, background, true_cfg_scale=1), plain)
    assert not torch.allclose(draw(pipe, background, true_cfg_scale=4), plain, atol=1e-4)


def test_passes_do_not_share_a_cache(pipe: BFSPipeline, background: Image.Image) -> None:
    """A cache that never skips changes nothing: the pass without prompt reuses nothing of the one with it."""
    careful = TaylorSeer(interval=2, warmup_steps=6)
    guided = draw(pipe, background, num_inference_steps=4, true_cfg_scale=3.0)
    cached = draw(pipe, background, num_inference_steps=4, true_cfg_scale=3.0, step_cache=careful)
    torch.testing.assert_close(cached, guided, atol=SAMPLING, rtol=0)
    skipping = draw(pipe, background, num_inference_steps=8, true_cfg_scale=3.0, step_cache=TaylorSeer(interval=2, warmup_steps=2))
    whole = draw(pipe, background, num_inference_steps=8, true_cfg_scale=3.0)
    other = draw(pipe, background, "a small red glossy plastic sphere", num_inference_steps=8, true_cfg_scale=3.0)
    assert 0 < (skipping - whole).abs().mean() < (other - whole).abs().mean()


def test_the_scale_travels_with_the_bundle(tmp_path: Any, background: Image.Image) -> None:
    """A bundle that was saved with a scale is guided by it when nothing is said."""
    saved = BFSPipeline.from_pretrained(random_bundle(tmp_path / "first"))
    saved.register_to_config(true_cfg_scale=2.5)
    saved.save_pretrained(tmp_path / "second")
    loaded = BFSPipeline.from_pretrained(tmp_path / "second")
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.true_cfg_scale == 2.5
    assert torch.equal(draw(loaded, background), draw(loaded, background, true_cfg_scale=2.5))


@pytest.mark.parametrize("scale", [0.5, -1, float("nan"), True])
def test_what_is_no_scale_is_refused(scale: Any, pipe: BFSPipeline, background: Image.Image) -> None:
    """Below 1, not finite or a truth value: named, with what would do."""
    with pytest.raises(BadInput, match="true_cfg_scale"):
        draw(pipe, background, true_cfg_scale=scale)
