"""What people see of a run that writes about itself elsewhere."""

import json
import time
from pathlib import Path

import pytest

from bfs_platform.train.launch.following import figures, following, newest

LINE = {"step": 3, "data": "natural", "loss": 0.25, "grad_norm": 0.125, "lr": 2e-5, "real": 0.1, "step_s": 1.0}


def test_five_figures() -> None:
    """Loss and what it is of, gradient norm, learning rate; progress adds steps per second and the time left."""
    assert figures(LINE) == "loss 0.25 (natural), gradient norm 0.125, lr 2e-05"


def test_only_whole_lines_count(tmp_path: Path) -> None:
    """A line that is being written is not there yet; nor is a file that is not, or holds something else."""
    losses = tmp_path / "losses.jsonl"
    assert newest(losses) is None
    losses.write_text(json.dumps(LINE) + "\n" + '{"step": 4, "lo')
    assert newest(losses) == LINE
    losses.write_text("torn\n")
    assert newest(losses) is None


def test_a_run_is_followed_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of an earlier start are not news; the last line said has all steps and the figures of the newest line."""
    losses = tmp_path / "losses.jsonl"
    losses.write_text(json.dumps(LINE | {"loss": 9.0}) + "\n")
    with following(tmp_path, "demo_stage1", 5):
        time.sleep(1.2)
        with losses.open("a") as file:
            file.write(json.dumps(LINE | {"step": 5, "loss": 0.5}) + "\n")
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("demo_stage1: 5/5 steps in ") and said.endswith("loss 0.5 (natural), gradient norm 0.125, lr 2e-05")


def test_a_run_that_had_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All steps were there already: no figure of an earlier run is shown as if it were new."""
    (tmp_path / "losses.jsonl").write_text(json.dumps(LINE) + "\n")
    with following(tmp_path, "demo_stage1", 5):
        pass
    assert capsys.readouterr().err.splitlines() == ["demo_stage1: 5/5 steps in 0 s"]
