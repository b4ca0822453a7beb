"""The whole road at tiny widths, as a user starts it in a bare shell: killed, continued, promoted, served."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from shells import BIN, bare_shell

from bfs_model import integrity

JOBS = ["build_stage2", "train_shadow", "build_stage1", "train_rgba_vae", "build_stage1", "build_stage1", "train_compositor", "stage1"]
JOBS += ["evaluate", "promote"]


def rehearsed(output: Path, home: Path, *more: str, limit_s: float) -> dict[str, Any]:
    """The report of `bfs rehearse flux_stage1`."""
    home.mkdir()
    command = [str(BIN / "bfs"), "rehearse", "flux_stage1", "--output", str(output), "--json", *more]
    done = subprocess.run(command, env=bare_shell(home), capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts == json.loads((output / "report.json").read_text())
    return facts


def assert_whole(output: Path, facts: dict[str, Any], side: int) -> None:
    """Every job of the road ended well, the stage once after a kill; its model is the registry's, and a layer came back."""
    assert [row.get("job") for row in facts["steps"]] == [*JOBS, None]
    shadows, stage = facts["steps"][1], facts["steps"][7]
    assert shadows["memory_bytes"] > 0 and shadows["step_s"] > 0 and len(shadows["steps"]) == len(stage["steps"])
    assert stage["killed_after_s"] is not None and stage["steps"] == list(range(1, len(stage["steps"]) + 1))
    assert all(row["peak_bytes"] > 0 and row["wall_s"] > 0 for row in facts["steps"][:-1])
    assert facts["plan"]["full_memory_bytes"] < facts["plan"]["full_memory_limit_bytes"] and facts["plan"]["measured_bytes"] > 0
    body = integrity.verify(output / "stage1/model", "model")["body"]
    assert "untrained" not in body and body["base"]["name"] == str(output / "FLUX.1-Fill-wide")
    assert integrity.verify(output / "stage1-set", "dataset")["body"]["models"]["flux_shadow"]["name"] == "shadow"
    assert Image.open(output / "layer.png").size == (side, side)


@pytest.mark.soak
def test_the_road_is_walked_to_its_end(tmp_path: Path) -> None:
    """At tiny widths, on one worker."""
    small = ("--tiny", "--side", "64", "--steps", "2", "--workers", "1")
    assert_whole(tmp_path / "out", rehearsed(tmp_path / "out", tmp_path / "home", *small, limit_s=2400), 64)


@pytest.mark.soak
def test_the_road_is_walked_at_real_widths(tmp_path: Path) -> None:
    """One block of each kind at FLUX.1-Fill's widths, two workers: what a worker holds is no more than twice what the plan counts, beside
    3 GiB of libraries and encoders."""
    facts = rehearsed(tmp_path / "out", tmp_path / "home", limit_s=5400)
    assert_whole(tmp_path / "out", facts, 128)
    assert facts["plan"]["measured_bytes"] < 2 * facts["plan"]["planned_bytes"] + 3 * 2**30
