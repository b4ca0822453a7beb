"""Stronger coupling in extraction: an extra pass without messages, and nothing left behind."""

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.sampling.joint_guidance import independent_branches, joint_guidance
from bfs_model.tiny.components import random_bundle

BOX = (4, 4, 24, 28)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> BFSPipeline:
    """An untrained pipeline whose branches do exchange messages."""
    loaded = BFSPipeline.from_pretrained(random_bundle(tmp_path_factory.mktemp("guidance") / "bundle"))
    loaded.set_progress_bar_config(disable=True)
    with torch.no_grad():
        for parameter in loaded.sharing.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return loaded


@pytest.fixture(scope="module")
def pictures() -> tuple[Image.Image, Image.Image]:
    """Finished picture and background."""
    random = np.random.default_rng(0)
    return tuple(Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(2))  # type: ignore[return-value]


def extract(pipe: BFSPipeline, pictures: tuple[Image.Image, Image.Image], **settings: object) -> torch.Tensor:
    return pipe.extract(*pictures, BOX, "x", seed=1, num_inference_steps=2, output_type="latent", **settings).foregrounds[0]


def test_the_weight_moves_the_layer_and_zero_does_not(pipe: BFSPipeline, pictures: tuple[Image.Image, Image.Image]) -> None:
    """0 is the paper, bitwise; the pipeline draws the same afterwards."""
    plain = extract(pipe, pictures)
    assert torch.equal(extract(pipe, pictures, joint_guidance=0), plain)
    guided = extract(pipe, pictures, joint_guidance=0.5)
    assert not torch.allclose(guided, plain, atol=1e-3)
    assert torch.equal(extract(pipe, pictures), plain)


def test_the_velocity_is_the_formula(pipe: BFSPipeline) -> None:
    """v_joint + w (v_joint − v_separate), the separate one being that of branches without messages."""
    size = pipe.config.window_size // 4
    tokens = (size // 2) ** 2
    random = torch.Generator().manual_seed(2)
    prompts = pipe.encode_prompt(["x"])
    channels = pipe.transformer.config.out_channels or 64
    x = torch.randn(2, tokens, channels, generator=random)
    condition = torch.randn(1, tokens, pipe.transformer.config.in_channels - channels, generator=random)
    ids = torch.zeros(tokens, 3)
    inputs = (x, condition, torch.full((1,), 0.7), *prompts, ids)
    with torch.no_grad():
        joint = pipe._velocity(*inputs)
        with independent_branches(pipe.dual_branch):
            separate = pipe._velocity(*inputs)
        with joint_guidance(pipe, 2.0):
            guided = pipe._velocity(*inputs)
        alone = pipe._velocity(torch.cat([x[:1], x[:1]]), *inputs[1:])
        with independent_branches(pipe.dual_branch):
            first = pipe._velocity(torch.cat([x[:1], x[:1]]), *inputs[1:])
    assert torch.allclose(guided, joint + 2 * (joint - separate), atol=SAMPLING, rtol=0)
    assert torch.allclose(first[:1], separate[:1], atol=SAMPLING, rtol=0), "without messages the other branch does not matter"
    assert not torch.allclose(alone[:1], joint[:1], atol=1e-4)


@pytest.mark.parametrize("weight", [-1, float("nan"), "much", True])
def test_what_is_no_weight(pipe: BFSPipeline, pictures: tuple[Image.Image, Image.Image], weight: object) -> None:
    """Refused with its name."""
    with pytest.raises(BadInput, match="joint_guidance"):
        extract(pipe, pictures, joint_guidance=weight)


def test_a_step_cache_would_mix_up_the_passes(pipe: BFSPipeline, pictures: tuple[Image.Image, Image.Image]) -> None:
    """Said instead of drawn wrongly, and the pipeline works afterwards."""
    with pytest.raises(BadInput, match="step cache"):
        extract(pipe, pictures, joint_guidance=0.5, step_cache="first_block")
    assert torch.isfinite(extract(pipe, pictures)).all()
