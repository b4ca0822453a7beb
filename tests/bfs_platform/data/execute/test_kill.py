"""SIGKILL at any moment: the next run goes on, and the result is that of an undisturbed build."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bfs_model import integrity

BUILD = """
import sys
from pathlib import Path
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec, EncodeSpec

root, output = Path(sys.argv[1]), Path(sys.argv[2])
spec = DataSpec(stage=1, buckets=((32, 32),), records_per_shard=2, encode=EncodeSpec(enabled=False)).named("tabletop_data_stage1")
source = open_source("rorem", root)
build(source, output, spec, stream=in_process(source, spec, output))
"""


def start(root: Path, output: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILD, str(root), str(output)], stderr=subprocess.PIPE, env=env)


def content_hash(output: Path) -> str:
    integrity.verify(output, "dataset")
    return str(json.loads((output / "manifest.json").read_text())["content_hash"])


def finish(root: Path, output: Path, env: dict[str, str]) -> str:
    with start(root, output, env) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return content_hash(output)


def test_killed_five_times_ends_in_the_same_hash(rorem: Callable[..., Path], tmp_path: Path, bare_env: dict[str, str]) -> None:
    """One build killed five times at different moments: never a readable half, in the end the undisturbed hash."""
    root, output = rorem(24), tmp_path / "out"
    env = bare_env | {"OMP_NUM_THREADS": "1"}
    undisturbed = finish(root, tmp_path / "whole", env)
    draw = random.Random(4)
    receipts = tmp_path / ".out.building" / "receipts"
    kept = kills = 0
    for _ in range(5):
        with start(root, output, env) as process:
            wanted, deadline = kept + 1, time.monotonic() + 60
            while len(list(receipts.glob("*.json"))) < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            break
        kills += 1
        assert not output.exists(), "a killed build leaves nothing that looks like a dataset"
        now = len(list(receipts.glob("*.json")))
        assert now >= kept, "no finished shard is lost"
        kept = now
    assert kills >= 3 and kept >= 3
    assert finish(root, output, env) == undisturbed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["input", "out", "whole"]


@pytest.mark.parametrize("survivor", ["staging", "parts of a committed set"])
def test_killed_while_committing(rorem: Callable[..., Path], tmp_path: Path, bare_env: dict[str, str], survivor: str) -> None:
    """A half-assembled staging folder is made anew; a workspace that outlived its commit does no harm."""
    root, output = rorem(4), tmp_path / "out"
    env = bare_env | {"OMP_NUM_THREADS": "1"}
    undisturbed = finish(root, output, env)
    workspace = tmp_path / ".out.building"
    if survivor == "staging":
        output.rename(tmp_path / "old")
        (workspace / "dataset" / "shards").mkdir(parents=True)
        (workspace / "dataset" / "shards" / "part-00000.parquet").write_bytes(b"half")
        (workspace / "dataset" / "shards" / "part-00007.parquet").write_bytes(b"foreign")
        assert finish(root, output, env) == undisturbed
        assert not workspace.exists()
    else:
        (workspace / "parts").mkdir(parents=True)
        assert finish(root, output, env) == undisturbed
