"""The road to the embedded model, `infra/crisp/train.sh`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bfs_model import BFSPipeline

_SMALL = "--set num_steps=2 --set batch_size=2 --set micro_batch_size=2 --set autocast=false --set threads_per_worker=1"


def _train(root: Path, scratch: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    own = {"CRISP": str(scratch), "SCENES": "6", "HELD_OUT": "3", "BIN": str(Path(sys.executable).parent), "NUMBERS": _SMALL}
    command = ["bash", "infra/crisp/train.sh", *steps]
    return subprocess.run(command, cwd=root, env={**os.environ, **own}, capture_output=True, text=True)


def test_a_step_that_is_none(repo_root: Path, tmp_path: Path) -> None:
    """It is named, with those that are, and nothing was done."""
    done = _train(repo_root, tmp_path / "crisp", "nothing")
    assert done.returncode == 2 and "step=nothing is none of: scenes pixels vae rgba latents" in done.stderr
    assert not (tmp_path / "crisp").exists()


@pytest.mark.soak
def test_the_whole_road(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From rendering to a measured bundle, two steps a network; a second call finds everything done."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BEGUN", str(tmp_path / "none"))
    done = _train(repo_root, tmp_path / "crisp")
    assert done.returncode == 0, done.stderr[-4000:]
    pipe = BFSPipeline.from_pretrained(tmp_path / "crisp" / "bundle")
    assert pipe.config.window_size == 128 and not pipe.untrained and pipe.image_encoder is not None
    assert (tmp_path / "crisp" / "evaluation" / "metrics.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "crisp").rglob("manifest.json")}
    assert _train(repo_root, tmp_path / "crisp").returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "crisp").rglob("manifest.json")}
