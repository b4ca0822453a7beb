"""Steps that stand out are left out: named, without a trace in weights and moments, and the same ones when a run is killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from safetensors.torch import load_file
from training import difference, losses_of

from bfs_platform.train.loop import Diverged, stop_unless_some_are_taken
from bfs_platform.train.spec import GuardSpec
from bfs_platform.train.state import checkpoints
from bfs_platform.train.state.guard import LEAST, WINDOW, Guard, guarded

Configured = Callable[..., dict[str, Any]]
GUARDED = ("num_workers=2", "num_steps=6", "guard.norm_factor=2.5", "checkpoint.every_steps=1", "checkpoint.keep=9")
# The layers of step 3 are a hundred times as bright as any; nothing is left out before two steps are known.
SPIKE = """
from dataclasses import replace
from bfs_platform.train.network.sharing import SharingTask
from bfs_platform.train.state import guard
guard.LEAST = 2
given = SharingTask.batch
def spiked(self, data, rows, step):
    ids, (batch, *rest) = given(self, data, rows, step)
    return ids, (replace(batch, z_fg=batch.z_fg * 100) if step == 3 else batch, *rest)
SharingTask.batch = spiked
"""


def judged(guard: Guard, norm: float, loss: float = 1.0) -> str:
    guard.open(lambda: (norm, loss))
    assert guard.refuses() == guard.refuses(), "however often it is asked"
    return guard.close()


def test_what_stands_out_is_left_out() -> None:
    """More than so many times the median of the accepted steps, and not before there are enough; the first excess changes no median."""
    guard = Guard(GuardSpec(norm_factor=3, loss_factor=5))
    assert [judged(guard, norm) for norm in (100.0, *[2.0] * (LEAST - 1))] == [""] * LEAST
    assert judged(guard, 5.9) == "" and judged(guard, 6.1) == "gradient norm 6.1 is 3.0 times the usual 2"
    assert judged(guard, 2.0, 5.1).startswith("loss 5.1 is 5.1 times") and guard.num_skipped == 2
    assert judged(guard, float("nan")) == "" and judged(guard, float("inf")) == "", "that stops the run elsewhere"
    again = Guard(guard.spec)
    again.restore(guard.state())
    assert torch.equal(again.state(), guard.state()) and len(guard.state()) == 2 + 2 * (LEAST + 1)
    for _ in range(2 * WINDOW):
        judged(guard, 2.0)
    assert len(guard.state()) == 2 + 2 * WINDOW


def test_a_run_of_which_nothing_is_taken_ends() -> None:
    """A rise that stays would be left out for ever; a single step that is taken begins the count anew."""
    guard = Guard(GuardSpec(norm_factor=3))
    norms = [*[1.0] * LEAST, *[9.0] * (WINDOW - 1), 1.0, *[9.0] * (WINDOW - 1)]
    for norm in norms:
        judged(guard, norm)
        stop_unless_some_are_taken(guard)
    judged(guard, 9.0)
    with pytest.raises(Diverged, match=f"{WINDOW} steps in a row were left out .* Lower optimizer.lr"):
        stop_unless_some_are_taken(guard)


def test_a_refused_update_leaves_no_trace() -> None:
    """Neither in the parameter nor in the moments nor in their count."""
    guard, parameter = Guard(GuardSpec(norm_factor=3)), torch.nn.Parameter(torch.ones(3))
    optimizer: torch.optim.Optimizer = guarded(torch.optim.AdamW)([parameter], guard=guard, lr=0.1)
    for norm in (*[1.0] * LEAST, 9.0):
        parameter.grad = torch.full((3,), norm)
        guard.open(lambda norm=norm: (norm, 1.0))  # type: ignore[misc]
        before = [parameter.detach().clone(), *(v.clone() for v in optimizer.state[parameter].values())]
        optimizer.step()
    after = [parameter.detach(), *optimizer.state[parameter].values()]
    assert guard.close() and all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def _state(told: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
    folder = checkpoints.path_of(Path(told["output"]), step)
    return {k: v for file in folder.glob("state-*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_run_leaves_a_bad_batch_out(stage: int, ranks: Ranks, configured: Configured) -> None:
    """At every ZeRO stage: weights and moments after the step are those before it, its samples are named, and a killed run is the same."""
    changes = (f"zero.stage={stage}", *GUARDED)
    whole, torn = configured("whole", "tabletop_stage1", *changes), configured("torn", "tabletop_stage1", *changes)
    ranks.run(whole, 2, SPIKE)
    before, after = ({k: v for k, v in _state(whole, step).items() if k not in ("guard", "updates")} for step in (3, 4))
    assert difference(before, after) == 0 and difference(after, {k: _state(whole, 5)[k] for k in after}) > 0
    assert int(_state(whole, 6)["updates"]) == 5 and float(_state(whole, 6)["guard"][0]) == 1
    (line,) = map(json.loads, (Path(whole["output"]) / "skipped.jsonl").read_text().splitlines())
    assert line["step"] == 4 and line["reason"].startswith("gradient norm") and len(line["samples"]) == 4
    assert losses_of(Path(whole["output"]))[3]["loss"] > 100 * losses_of(Path(whole["output"]))[2]["loss"]
    for step in (2, 5):  # before the bad batch, and after it
        with pytest.raises(WorkerFailed):
            ranks.run(torn, 2, SPIKE + DIE_IN_STEP.format(step=step))
    ranks.run(torn, 2, SPIKE)
    assert difference(_state(torn, 6), _state(whole, 6)) == 0
    assert (Path(torn["output"]) / "skipped.jsonl").read_text() == (Path(whole["output"]) / "skipped.jsonl").read_text()
