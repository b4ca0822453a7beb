"""What operators see of a run."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfs_platform.config import resolve
from bfs_platform.train.report import meter
from bfs_platform.train.report.meter import Meter, system_values
from bfs_platform.train.report.reporting import Reporter
from bfs_platform.train.spec import TrainSpec


class Clock:
    """A clock that stands still until a test moves it."""

    now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


def test_steps_are_timed_without_checkpoints_and_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of 3 s, 1 s of it waiting for data; 5 s of a checkpoint and 7 s of pictures are told apart from them."""
    clock = Clock()
    monkeypatch.setattr(meter, "time", clock)
    spec = resolve("tabletop_stage1", ["batch_size=16"], TrainSpec)
    timed = Meter(None, SimpleNamespace(flops_per_sample=lambda: 1e9), spec, 2)  # type: ignore[arg-type]
    for _ in range(2):
        with timed.waiting_for_data():
            clock.now_s += 1
        clock.now_s += 2
        timed.step_done()
    with timed.checkpointing():
        clock.now_s += 5
    with timed.sampling():
        clock.now_s += 7
    timed.checkpoints_missed(1)
    values = timed.values()
    assert values["step_s"] == pytest.approx(3) and values["data_wait_s"] == pytest.approx(1)
    assert values["samples_per_s"] == pytest.approx(16 / 3) and values["tflops_per_worker"] == pytest.approx(16e9 / 3 / 2 / 1e12)
    assert values["checkpoint_s"] == pytest.approx(5) and values["missed_checkpoints"] == 1
    timed.step_done()
    assert timed.values()["data_wait_s"] == 0, "each report starts anew"


def test_mlflow_gets_the_state_of_the_machine_too(tmp_path: Path) -> None:
    """System metrics under MLflow's own names go along with the numbers of the step."""
    logged: list[tuple[dict[str, float], int]] = []
    run: Any = SimpleNamespace(metrics=lambda values, step: logged.append((values, step)))
    Reporter(tmp_path, 10, run, "test").metrics({"loss": 0.5}, 3, "natural")
    assert logged[0][1] == 3 and logged[0][0].keys() == {"loss"} | system_values(tmp_path).keys()
    assert "system/disk_available_megabytes" in logged[0][0]


def test_mlflow_gets_held_out_losses_in_all_bands(tmp_path: Path) -> None:
    """Under `validation/`, and the same lie beside the result."""
    logged: list[tuple[dict[str, float], int]] = []
    run: Any = SimpleNamespace(metrics=lambda values, step: logged.append((values, step)))
    Reporter(tmp_path, 10, run, "test").validation({"flow_fg": 0.25, "flow_fg/0": 0.5}, 4)
    assert logged == [({"validation/flow_fg": 0.25, "validation/flow_fg/0": 0.5}, 4)]
    assert json.loads((tmp_path / "validation.jsonl").read_text()) == {"step": 4, "flow_fg": 0.25, "flow_fg/0": 0.5}
