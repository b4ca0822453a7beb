"""The kernel of attention that a run measures at its start, and keeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from ranks import Ranks
from torch import nn
from training import difference, weights_of

from bfs_model.errors import BadInput
from bfs_platform.train.state import kernels
from bfs_platform.train.state.kernels import TABLE, Shape

Configured = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")


def test_the_fastest_is_chosen_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels of a CPU are measured; a continued run reads the table, another shape is measured anew; the line names all."""
    shape = Shape(2, 3, 17, 8, "float32")
    table = kernels.chosen(tmp_path, shape, CPU)
    assert set(table["ms"]) == {"flash", "math"} and min(table["ms"].values()) == table["ms"][table["kernel"]] > 0
    assert json.loads((tmp_path / TABLE).read_text()) == table
    monkeypatch.setattr(kernels, "measured", lambda shape, device: {"flash": 2.0, "math": 1.0})
    assert kernels.chosen(tmp_path, shape, CPU) == table
    other = kernels.chosen(tmp_path, shape._replace(tokens=19), CPU)
    assert other["kernel"] == "math" and "2×3 heads, 19 tokens of 8 in float32" in kernels.as_text(other)
    assert kernels.as_text(other).endswith("math 1.00 ms, flash 2.00 ms")


def test_a_kernel_that_cannot_is_left_out() -> None:
    """A device without a kernel gives no time for it, and measuring leaves the generator as it was."""
    before = torch.random.get_rng_state()
    assert "cudnn" not in kernels.measured(Shape(1, 1, 5, 8, "bfloat16"), CPU)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.distributed
def test_a_run_trains_with_what_it_measured(ranks: Ranks, configured: Configured) -> None:
    """Every rank takes the kernel of the table: the weights are bit by bit those of a run that names it."""
    settings = ("num_workers=2", "num_steps=2")
    told = {name: configured(name, "tabletop_stage1", *settings, f"attention={name}") for name in ("measured", "flash", "math")}
    weights = {name: weights_of(ranks.run(config, 2)) for name, config in told.items()}
    table = json.loads((Path(told["measured"]["output"]) / TABLE).read_text())
    assert table["shape"][0] == 4 and difference(weights["measured"], weights[table["kernel"]]) == 0
    assert difference(weights["flash"], weights["math"]) > 0


@pytest.mark.distributed
def test_blocks_that_are_computed_anew_use_the_same_kernel(ranks: Ranks, configured: Configured) -> None:
    """Gradient checkpointing runs them again inside the backward pass: with another kernel there, torch would refuse the gradient."""
    told = {
        anew: configured(f"anew-{anew}", "tabletop_stage1", "num_steps=2", "attention=math", f"gradient_checkpointing={anew}")
        for anew in ("true", "false")
    }
    weights = [weights_of(ranks.run(config)) for config in told.values()]
    assert difference(*weights) == 0


@pytest.mark.distributed
def test_a_backend_of_diffusers_computes_attention(ranks: Ranks, configured: Configured) -> None:
    """Its own way of asking for plain products gives bit by bit what torch's does."""
    settings = {"backend": "attention_backend=_native_math", "kernel": "attention=math", "neither": "attention=flash"}
    weights = {
        name: weights_of(ranks.run(configured(name, "tabletop_stage1", "num_steps=2", setting))) for name, setting in settings.items()
    }
    assert difference(weights["backend"], weights["kernel"]) == 0 < difference(weights["backend"], weights["neither"])


@pytest.mark.parametrize(("name", "rule"), [("flsh", "must be one of"), ("flash", "flash_attn|flash-attn|Flash Attention")])
def test_a_backend_that_is_not_there_is_refused(name: str, rule: str) -> None:
    """A name that is none, and one whose library is not installed, before anything is trained."""
    model = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, axes_dims_rope=(4, 6, 6)
    )
    with pytest.raises(BadInput, match=rf"attention_backend={name} is not to be had here .*({rule})"):
        kernels.use_backend(nn.ModuleDict({"inside": model}), name)


def test_two_ways_of_attending_are_refused(configured: Configured) -> None:
    """torch's kernels and those of a library exclude each other."""
    with pytest.raises(BadInput, match="attention_backend=sage takes the place of torch's kernels"):
        configured("both", "tabletop_stage1", "attention=math", "attention_backend=sage")
