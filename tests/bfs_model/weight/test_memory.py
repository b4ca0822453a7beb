"""Precision and memory modes: what is rounded, what never is, and what a machine cannot do."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bfs_model import BFSPipeline
from bfs_model.device import execution_device
from bfs_model.errors import BadInput
from bfs_model.latent.latents import image_ids
from bfs_model.tiny.components import TINY, random_bundle
from bfs_model.weight import bundle, memory

BACKGROUND = np.random.default_rng(0).random((32, 32, 3), np.float32)
FULL_PRECISION = ("vae", "rgba_vae", "sharing", "compositor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle whose sharing weights do something."""
    path = random_bundle(tmp_path_factory.mktemp("bundles") / "random")
    pipe = BFSPipeline.from_pretrained(path)
    torch.manual_seed(0)
    for block in pipe.sharing.blocks:
        torch.nn.init.normal_(block.lora.up, std=0.3)
        torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    pipe.save_pretrained(path)
    return path


def load(path: Path, **settings: Any) -> BFSPipeline:
    """A quiet pipeline."""
    pipe = BFSPipeline.from_pretrained(path, **settings)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe: BFSPipeline) -> Tensor:
    """The foreground's final latent."""
    return pipe(BACKGROUND, (5, 7, 19, 23), "a red cube", seed=3, num_inference_steps=3, output_type="latent").foregrounds[0]


def dtypes(module: torch.nn.Module) -> set[torch.dtype]:
    """The precisions of all parameters."""
    return {p.dtype for p in module.parameters()}


@pytest.mark.parametrize("dtype", ["bf16", torch.bfloat16])
def test_bf16_rounds_the_frozen_networks_and_nothing_else(folder: Path, dtype: Any) -> None:
    """Transformer and text encoders are bfloat16, VAEs, sharing and Φ float32; the layer stays within 5 % of float32's."""
    pipe, exact = load(folder, dtype=dtype), load(folder)
    assert all(dtypes(getattr(pipe, part)) == {torch.bfloat16} for part in ("transformer", "text_encoder", "text_encoder_2"))
    assert all(dtypes(getattr(pipe, part)) == {torch.float32} for part in FULL_PRECISION)
    assert all(dtypes(part) == {torch.float32} for part in exact.components.values() if isinstance(part, torch.nn.Module))
    rounded, reference = drawn(pipe), drawn(exact)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, reference)
    assert (rounded - reference).norm() < 0.05 * reference.norm()


def test_adapters_of_a_trained_model_are_read_exactly(folder: Path, tmp_path: Path) -> None:
    """On a bfloat16 base the weights of a model folder are bit for bit those that were saved."""
    exact = load(folder)
    bundle.save_model(exact, tmp_path / "model", str(folder), {})
    state, loaded = exact.sharing.state_dict(), load(tmp_path / "model", dtype="bf16").sharing.state_dict()
    assert all(torch.equal(state[name], loaded[name]) for name in state)


def test_what_a_machine_cannot_do_is_said_before_anything_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names, offload without an accelerator and int8 without torchao are one clear line each."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torchao" else found(name, *more))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for settings, message in (
        ({"dtype": "float7"}, "dtype=float7 is unknown; use one of bf16, fp16, fp32"),
        ({"memory": "tight"}, "memory=tight is unknown; use one of none, offload, int8, fp8, nf4"),
        ({"memory": "offload"}, "memory=offload needs an accelerator"),
        ({"memory": "int8"}, "memory=int8 needs torchao, which is not installed"),
    ):
        with pytest.raises(BadInput, match=message):
            BFSPipeline.from_pretrained(folder, **settings)
    monkeypatch.setenv(memory.MEMORY_VARIABLE, "fp8")
    with pytest.raises(BadInput, match="memory=fp8 needs torchao"):
        BFSPipeline.from_pretrained(folder)


def test_what_has_no_transformer_is_brought_into_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that only encode leave it on the disk."""
    rounded: list[Any] = []
    monkeypatch.setattr(memory, "quantise", lambda blocks, mode: rounded.extend(blocks))
    encoder = torch.nn.Linear(2, 2)
    pipe = memory.apply(SimpleNamespace(transformer=None, text_encoder_2=encoder), "int8")
    assert pipe.memory == "int8" and rounded == [encoder] and not encoder.weight.requires_grad


def test_offload_takes_turns_and_draws_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With diffusers' hooks on every network but the sharing weights (here they move from CPU to CPU), the layer is the same."""
    expected = drawn(load(folder))
    offload = BFSPipeline.enable_model_cpu_offload
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(BFSPipeline, "enable_model_cpu_offload", lambda self: offload(self, device="cpu"))
    pipe = load(folder, memory="offload")
    assert pipe.memory == "offload"
    hooked = {name for name, part in pipe.components.items() if hasattr(part, "_hf_hook")}
    assert {"transformer", "vae", "rgba_vae", "text_encoder", "text_encoder_2"} <= hooked and "sharing" not in hooked
    assert execution_device(pipe.vae) == torch.device("cpu", 0)
    assert torch.equal(drawn(pipe), expected)
    pipe.remove_all_hooks()


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed; make test-quantised brings it")
@pytest.mark.parametrize("mode", ["int8", "fp8"])
def test_quantised_weights_are_those_of_the_frozen_blocks(folder: Path, tmp_path: Path, mode: str) -> None:
    """Linear maps of blocks and T5 hold 8 bits, all that BFS adds stays float32, the layer stays near; saving is refused."""
    pipe = load(folder, memory=mode)
    block = pipe.transformer.transformer_blocks[0]
    assert type(block.attn.to_q.weight.data) is not Tensor and type(pipe.transformer.x_embedder.weight.data) is Tensor
    assert all(dtypes(getattr(pipe, part)) == {torch.float32} for part in FULL_PRECISION)
    exact = drawn(load(folder))
    assert 0 < (drawn(pipe) - exact).norm() < 0.1 * exact.norm()
    with pytest.raises(BadInput, match="has rounded the weights"):
        pipe.save_pretrained(tmp_path / "bundle")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed; make test-quantised brings it")
def test_training_goes_through_a_base_of_four_bits(tmp_path: Path) -> None:
    """An eighth of the blocks' float32 bytes is left, the layer stays near, and the gradients of the sharing weights point where those
    on the exact base do; moving and rounding the rest to bfloat16, as DeepSpeed does, leaves the four bits alone."""
    path = random_bundle(tmp_path / "wide", TINY)
    exact, small = load(path), load(path, memory="nf4")
    sizes = [sum(p.numel() * p.element_size() for p in pipe.transformer.transformer_blocks.parameters()) for pipe in (exact, small)]
    assert 0.12 < sizes[1] / sizes[0] < 0.14
    assert 0 < (drawn(small) - drawn(exact)).norm() < 0.1 * drawn(exact).norm()

    def gradient(pipe: BFSPipeline) -> Tensor:
        torch.manual_seed(1)
        dual = pipe.dual_branch
        pipe.sharing.requires_grad_(True)
        x, condition = torch.randn(4, 64, 64), torch.randn(2, 64, 128)
        text = torch.randn(2, TINY.text_tokens, TINY.text_dim), torch.randn(2, TINY.text_dim)
        dual(x, condition, torch.rand(2), *text, image_ids(16, 16, torch.device("cpu"))).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in pipe.sharing.parameters() if p.grad is not None])

    ours, theirs = gradient(small), gradient(exact)
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.95
    before = small.transformer.transformer_blocks[0].attn.to_q.weight.clone()
    small.transformer.bfloat16().to("cpu")
    assert torch.equal(small.transformer.transformer_blocks[0].attn.to_q.weight, before) and before.dtype == torch.uint8
    with pytest.raises(BadInput, match="has rounded the weights"):
        small.save_pretrained(tmp_path / "bundle")
