"""The weights that did best on held-out records are the result, and a run that gets no better ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from safetensors import SafetensorError
from training import difference, losses_of, weights_of

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.report import best as best_module
from bfs_platform.train.report.best import WEIGHTS, Best
from bfs_platform.train.report.reporting import VALIDATION
from bfs_platform.train.spec import BestSpec, TrainSpec

Configured = Callable[..., dict[str, Any]]
CHOOSING = (
    "num_workers=0",
    "zero.stage=1",
    "optimizer.schedule=constant",
    "num_steps=6",
    "validate_every_steps=1",
    "best.metric=flow_fg",
    "checkpoint.every_steps=1",
)
# The held-out loss falls for two steps and rises from then on, whatever is learned.
TURNING = """
from bfs_platform.train.network.sharing import SharingTask
measured = []
def validate(self, weights):
    total = sum(float(v.double().abs().sum()) for v in weights.values())
    step = len(list_of()) + 1
    return {"flow_fg": abs(step - 2.0) + 1, "flow_fg/0": total}
def list_of():
    from pathlib import Path
    path = Path(order["config"]["output"]) / "validation.jsonl"
    return path.read_text().splitlines() if path.exists() else []
SharingTask.validate = validate
"""


# The run dies while the weights of step 3 are measured, after their checkpoint.
DIE_IN_VALIDATION = """
import os, signal, time
from bfs_platform.train import loop
from bfs_platform.train.state import checkpoints
inspect = loop.inspect_weights
def dying(task, wrapped, place, reporter, done, *more, **named):
    if done == 3:
        while not (checkpoints.path_of(Path(order["config"]["output"]), 3) / "manifest.json").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    inspect(task, wrapped, place, reporter, done, *more, **named)
from pathlib import Path
loop.inspect_weights = dying
"""


def test_the_best_is_kept_and_found_again(tmp_path: Path) -> None:
    """The least value, the earlier of two; what is chosen follows from the files; the last weights stay where they are the best."""
    best = Best(BestSpec(metric="comp", patience=2), tmp_path)
    for step, value in ((1, 3.0), (2, 1.0), (3, 1.0)):
        with (tmp_path / "validation.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "comp": value}) + "\n")
        best.note({"comp": value}, {"w": torch.full((2,), float(step))}, step)
    assert not best.ends() and Best(best.spec, tmp_path).chosen({})[1] == 2
    best.note({"comp": 1.5}, {"w": torch.zeros(2)}, 4)
    assert best.ends() and best.chosen({})[0]["w"].tolist() == [2, 2]
    best.note({"comp": 0.5}, {"w": torch.ones(2)}, 5)
    assert not best.ends() and best.chosen({"last": torch.ones(1)}) == ({"last": torch.ones(1)}, None)
    with pytest.raises(BadInput, match=r"best\.metric=comp is no held-out loss of this network; use one of flow"):
        best.note({"flow": 1.0, "flow/0": 1.0}, {}, 6)


def test_the_best_so_far_is_kept_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """A measurement whose weights could not be written chooses nothing; the next better one is written."""
    best = Best(BestSpec(metric="comp"), tmp_path)
    best.note({"comp": 3.0}, {"w": torch.zeros(2)}, 1)

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(best_module, "save_file", full)
        best.note({"comp": 1.0}, {"w": torch.ones(2)}, 2)
    assert "after 2 steps, could not be written: No space left" in caplog.text
    best.note({"comp": 5.0}, {"w": torch.ones(2)}, 3)
    assert best.chosen({})[1] == 1 and best.knows(2)
    best.note({"comp": 2.0}, {"w": torch.full((2,), 4.0)}, 4)
    best.note({"comp": 5.0}, {}, 5)
    assert best.chosen({})[1] == 4


def test_a_choice_needs_something_to_measure(base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """Without a validation set, or without measurements on the way, it is refused before any work."""
    with pytest.raises(BadInput, match="set validate_every_steps"):
        resolve("tabletop_stage1", ["best.metric=comp"], TrainSpec)
    with pytest.raises(BadInput, match=r"best\.metric=flow is no held-out loss of sharing; use one of flow_comp, flow_fg, comp"):
        resolve("tabletop_stage1", ["best.metric=flow", "validate_every_steps=2"], TrainSpec)
    with pytest.raises(BadInput, match=r"best\.metric=psnr_db is no held-out loss of rgba_vae; leave it out"):
        resolve("tabletop_rgba_vae", ["best.metric=psnr_db", "validate_every_steps=2"], TrainSpec)
    with pytest.raises(BadInput, match=r"best\.patience=3 has nothing to wait for"):
        resolve("tabletop_stage1", ["best.patience=3"], TrainSpec)
    spec = resolve("tabletop_stage1", list(CHOOSING), TrainSpec)
    with pytest.raises(BadInput, match="none is given; add --validation"):
        fit(spec, str(base), [datasets[1]], tmp_path / "out")


@pytest.mark.distributed
def test_a_run_ends_early_with_its_best_weights(ranks: Ranks, datasets: dict[int, Path], configured: Configured) -> None:
    """Three measurements after the best it ends, with those weights as the result and in the manifest; killed in between, it does the
    same; given again, it trains no further."""

    def told(name: str, *more: str) -> dict[str, Any]:
        made = configured(name, "tabletop_stage1", *CHOOSING, *more)
        made["datasets"]["validation"] = str(datasets[1])
        return made

    two = ranks.run(configured("two", "tabletop_stage1", *CHOOSING[:3], "num_steps=2"))
    whole, torn = told("whole", "best.patience=3"), told("torn", "best.patience=3")
    manifest = ranks.run(whole, 1, TURNING)
    assert [line["step"] for line in losses_of(Path(whole["output"]))] == [1, 2, 3, 4, 5]
    assert difference(weights_of(manifest), weights_of(two)) == 0
    assert integrity.read_manifest(manifest.parent)["body"]["training"]["best"] == {"metric": "flow_fg", "step": 2}
    with pytest.raises(WorkerFailed):
        ranks.run(torn, 1, TURNING + DIE_IN_STEP.format(step=3))
    assert difference(weights_of(ranks.run(torn, 1, TURNING)), weights_of(two)) == 0
    assert difference(weights_of(ranks.run(torn, 1, TURNING)), weights_of(two)) == 0
    assert [line["step"] for line in losses_of(Path(torn["output"]))] == [1, 2, 3, 4, 5]
    assert (Path(torn["output"]) / WEIGHTS).exists()
    measured = (Path(whole["output"]) / VALIDATION).read_text()
    assert [json.loads(line)["step"] for line in measured.splitlines()] == [1, 2, 3, 4, 5]
    assert (Path(torn["output"]) / VALIDATION).read_text() == measured


@pytest.mark.distributed
def test_a_measurement_that_was_cut_short_is_made_up_for(ranks: Ranks, datasets: dict[int, Path], configured: Configured) -> None:
    """The run that goes on measures the weights of its checkpoint first, and then decides and results in the same as one left alone."""
    told = {name: configured(name, "tabletop_stage1", *CHOOSING, "best.patience=3") for name in ("whole", "torn")}
    for config in told.values():
        config["datasets"]["validation"] = str(datasets[1])
    whole = ranks.run(told["whole"], 1, TURNING)
    with pytest.raises(WorkerFailed):
        ranks.run(told["torn"], 1, TURNING + DIE_IN_VALIDATION)
    assert difference(weights_of(ranks.run(told["torn"], 1, TURNING)), weights_of(whole)) == 0
    lines = [(Path(config["output"]) / VALIDATION).read_text() for config in told.values()]
    assert lines[0] == lines[1]
