"""Merging a distillation LoRA into the base."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.tiny.components import TEST, random_components

LAYERS = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.norm1.linear", "single_transformer_blocks.1.proj_out")


@pytest.fixture
def pipe() -> BFSPipeline:
    """Untrained components."""
    made = BFSPipeline(**random_components(TEST), window_size=TEST.window_size)
    made.set_progress_bar_config(disable=True)
    return made


def _lora(pipe: BFSPipeline, path: Path, rank: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = {}
    for name in LAYERS:
        layer = pipe.transformer.get_submodule(name)
        state[f"transformer.{name}.lora_A.weight"] = torch.randn(rank, layer.in_features)
        state[f"transformer.{name}.lora_B.weight"] = torch.randn(layer.out_features, rank)
    save_file(state, path)
    return state


def test_the_base_holds_the_sum(pipe: BFSPipeline, tmp_path: Path) -> None:
    """Each weight is W + scale·B·A and frozen, no adapter is left, calls draw in few steps, and sharing still acts."""
    state = _lora(pipe, tmp_path / "lora.safetensors")
    before = {name: pipe.transformer.get_submodule(name).weight.clone() for name in LAYERS}
    keys = list(pipe.transformer.state_dict())
    pipe.merge_few_step_lora(tmp_path / "lora.safetensors", num_steps=3, scale=0.5)
    assert list(pipe.transformer.state_dict()) == keys and not any(p.requires_grad for p in pipe.transformer.parameters())
    for name in LAYERS:
        a, b = (state[f"transformer.{name}.lora_{part}.weight"] for part in "AB")
        torch.testing.assert_close(pipe.transformer.get_submodule(name).weight, before[name] + 0.5 * b @ a)
    steps: list[int] = []
    pipe(torch.zeros(32, 32, 3).numpy(), (5, 7, 19, 23), "x", seed=1, callback_on_step_end=lambda p, i, t, k: steps.append(i))
    assert steps == [0, 1, 2]
    assert type(pipe.transformer.transformer_blocks[0].attn.processor).__name__ == "SharingProcessor"


def test_a_foreign_lora_changes_nothing(pipe: BFSPipeline, tmp_path: Path) -> None:
    """A LoRA of another width or other layers, an empty one, a missing file: refused, the base untouched."""
    state = _lora(pipe, tmp_path / "good.safetensors")
    wide = {name: torch.zeros(3, 7) if name.endswith("A.weight") else value for name, value in state.items()}
    other = {"transformer.nowhere.lora_A.weight": torch.zeros(3, 7)}
    before = [p.clone() for p in pipe.transformer.parameters()]
    half = {name: value for name, value in state.items() if name.endswith("A.weight")}
    ranks = {name: value[:1].contiguous() if name.endswith("A.weight") else value for name, value in state.items()}
    flat = {name: value.flatten() for name, value in state.items()}
    contents = {"wide": wide, "other": other, "empty": {}, "half": half, "ranks": ranks, "flat": flat}
    for name, content in contents.items():
        save_file(content, tmp_path / name)
        with pytest.raises(BadInput, match="does not fit|no weights|half a pair, or two ranks"):
            pipe.merge_few_step_lora(tmp_path / name)
    for settings, said in (({"scale": float("nan")}, "is not a finite number"), ({"num_steps": 2000}, "from 1 to 1000")):
        with pytest.raises(BadInput, match=said):
            pipe.merge_few_step_lora(tmp_path / "good.safetensors", **settings)
    with pytest.raises(BadInput, match="cannot be read"):
        pipe.merge_few_step_lora(tmp_path / "missing")
    assert all(torch.equal(a, b) for a, b in zip(before, pipe.transformer.parameters(), strict=True))
