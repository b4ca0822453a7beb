"""A loss that stands out is left out by itself, in the networks whose full-size recipes are guarded by it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks
from safetensors.torch import load_file
from training import difference, losses_of

from bfs_platform.train.state import checkpoints

Configured = Callable[..., dict[str, Any]]
# No bound on gradients: only the loss can tell.
GUARDED = ("num_workers=2", "num_steps=6", "zero.stage=1", "guard.loss_factor=20", "checkpoint.every_steps=1", "checkpoint.keep=9")
# The fourth step's loss is a thousand times what it is; nothing is left out before two steps are known.
SPIKE = """
import torch
from bfs_platform.train.network.{module} import {kind}
from bfs_platform.train.state import guard
guard.LEAST = 2
given, steps = {kind}.forward, []
def spiked(self, *arguments):
    loss, terms = given(self, *arguments)
    steps.append(1)
    return loss * (1000 if len(steps) == 4 else 1), terms
{kind}.forward = spiked
"""
NETWORKS = [("rgba_vae", "RgbaVaeModule"), ("compositor", "CompositorModule"), ("shadow", "ShadowModule")]


def _state(told: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
    folder = checkpoints.path_of(Path(told["output"]), step)
    return {k: v for file in folder.glob("state-*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.distributed
@pytest.mark.parametrize(("module", "kind"), NETWORKS)
def test_a_loss_that_stands_out_is_left_out(module: str, kind: str, ranks: Ranks, configured: Configured) -> None:
    """Weights and moments after that step are those before it, its samples and the reason are written, and the next steps are taken."""
    told = configured("run", f"tabletop_{module}", *GUARDED)
    ranks.run(told, 2, SPIKE.format(module=module, kind=kind))
    before, after = ({k: v for k, v in _state(told, step).items() if k not in ("guard", "updates")} for step in (3, 4))
    assert difference(before, after) == 0 and difference(after, {k: _state(told, 5)[k] for k in after}) > 0
    assert int(_state(told, 6)["updates"]) == 5
    (line,) = map(json.loads, (Path(told["output"]) / "skipped.jsonl").read_text().splitlines())
    assert line["step"] == 4 and line["reason"].startswith("loss ") and "gradient" not in line["reason"] and len(line["samples"]) == 4
    losses = [entry["loss"] for entry in losses_of(Path(told["output"]))]
    assert losses[3] > 100 * max(losses[:3])
