"""diffusers' own accelerations on the dual branch: attention backends, compilation by block; and the shared modulation."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import ContextParallelConfig, ParallelConfig
from diffusers.models import attention_dispatch
from rounding import PASS, SAMPLING
from torch import Tensor

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.latent.latents import image_ids
from bfs_model.network.dual_branch import DualBranch
from bfs_model.tiny.components import TEST, random_components

SMALL = replace(TEST, num_single=1)  # one block of each kind: tracing takes seconds a block


@pytest.fixture
def dual() -> DualBranch:
    """Untrained components with stirred sharing weights."""
    parts = random_components(SMALL)
    torch.manual_seed(5)
    for block in parts["sharing"].blocks:
        torch.nn.init.normal_(block.lora.up, std=0.3)
        torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    return DualBranch(parts["transformer"], parts["sharing"]).eval()


@pytest.fixture
def restored_backend() -> Iterator[None]:
    """diffusers remembers the last backend for the whole process."""
    before, _ = attention_dispatch._AttentionBackendRegistry.get_active_backend()
    yield
    attention_dispatch._AttentionBackendRegistry.set_active_backend(before)


def _inputs(batch: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    tensors = {"x": torch.randn(2 * batch, 12, 64), "condition": torch.randn(batch, 12, 128), "sigma": torch.rand(batch)}
    return tensors | {"prompt_embeds": torch.randn(batch, 5, 64), "pooled_embeds": torch.randn(batch, 64), "img_ids": image_ids(6, 8)}


@torch.no_grad()
def test_modulation_sees_each_image_once(dual: DualBranch) -> None:
    """Every modulation layer gets one row per image, not one per branch; ejecting takes its hook off."""
    layers = [m for name, m in dual.transformer.named_modules() if name.endswith((".linear", "norm_out.linear")) and "norm" in name]
    rows: list[int] = []
    handles = [layer.register_forward_hook(lambda m, inputs, output: rows.append(len(inputs[0]))) for layer in layers]
    dual(**_inputs())
    assert rows == [3] * len(layers) and len(layers) == 2 * 1 + 1 + 1
    for handle in handles:
        handle.remove()
    dual.eject()
    assert not any(layer._forward_hooks for layer in layers)


@torch.no_grad()
@pytest.mark.parametrize("ejected", [False, True])
def test_attention_backend_serves_both_attentions(dual: DualBranch, ejected: bool, restored_backend: None, monkeypatch: Any) -> None:
    """A backend chosen before or after injection computes self- and cross-attention, and survives ejecting."""
    expected = dual(**_inputs())
    if ejected:
        dual.eject()
    dual.transformer.set_attention_backend("_native_math")
    dual.inject()
    used: list[Any] = []
    registry = attention_dispatch._AttentionBackendRegistry
    backend = attention_dispatch.AttentionBackendName._NATIVE_MATH
    original = registry._backends[backend]
    monkeypatch.setitem(registry._backends, backend, lambda **kwargs: used.append(kwargs["query"].shape[1]) or original(**kwargs))
    torch.testing.assert_close(dual(**_inputs()), expected, atol=PASS, rtol=0)
    assert sorted(used) == [12] * 2 + [17] * 2  # two blocks: image tokens across, all tokens within
    own = dual.eject().transformer_blocks[0].attn.processor
    assert own._attention_backend == backend


def test_tokens_are_not_split_over_ranks(dual: DualBranch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusers' context parallelism is refused: messages between the branches would be of one rank's tokens, and nobody would notice."""
    monkeypatch.setattr(dual.transformer, "_parallel_config", ParallelConfig(context_parallel_config=ContextParallelConfig(ring_degree=2)))
    with pytest.raises(BadInput, match="parallel_config=context_parallel_config splits tokens over ranks"):
        dual(**_inputs())


@pytest.mark.compile
@torch.no_grad()
def test_blocks_compile_whole(dual: DualBranch) -> None:
    """Every block is one graph without breaks, with sharing, modulation and attention inside; the result is the same."""
    expected = dual(**_inputs())
    torch._dynamo.reset()
    dual.transformer.compile_repeated_blocks(fullgraph=True, backend="eager")
    torch.testing.assert_close(dual(**_inputs()), expected, atol=PASS, rtol=0)


@pytest.mark.compile
@torch.no_grad()
def test_compiled_blocks_take_a_step_cache() -> None:
    """Blocks compiled one by one under the first-block cache skip the steps that uncompiled ones skip."""
    pipe = BFSPipeline(**random_components(SMALL), window_size=TEST.window_size)
    pipe.set_progress_bar_config(disable=True)
    pipe.enable_step_cache("first_block", threshold=0.35)
    background = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0)).numpy()
    computed: list[int] = []
    tail = pipe.transformer.single_transformer_blocks[-1].proj_mlp.register_forward_hook(lambda *arguments: computed.append(1))

    def draw() -> Tensor:
        out = pipe(background, (5, 7, 19, 23), "x", seed=1, num_inference_steps=4, output_type="latent")
        return torch.stack([*out.composites, *out.foregrounds])

    expected = draw()
    assert 0 < len(computed) < 4
    tail.remove()
    torch._dynamo.reset()
    pipe.transformer.compile_repeated_blocks(backend="eager")
    torch.testing.assert_close(draw(), expected, atol=SAMPLING, rtol=0)
