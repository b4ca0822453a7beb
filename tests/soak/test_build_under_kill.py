"""Builds on Ray Data under `kill -9`: driver, workers or all at once, at random moments. `tests/bench/RESULTS.md` says what was seen.

BFS_SOAK_KILLS changes the number of kills (5).
"""

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import Builder, kill_workers
from drawn import write_rorem

from bfs_platform.config import resolve
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec

pytestmark = pytest.mark.soak

NUM_KILLS = int(os.environ.get("BFS_SOAK_KILLS", "5"))
NUM_RECORDS = 64
DAMAGED = ("0007", "0050")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 records, two of them damaged, each a shard of its own."""
    root = write_rorem(tmp_path_factory.mktemp("source") / "input", NUM_RECORDS, size=64)
    for name in DAMAGED:
        (root / "mask" / f"{name}.png").write_bytes(b"GIF89a")
    return root


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content hash of the same recipe in a plain loop of this process."""
    spec = resolve("tabletop_pixels", ["records_per_shard=1", "max_reject_rate=0.5", "stage=1"], DataSpec)
    output, opened = tmp_path_factory.mktemp("whole") / "out", open_source("rorem", source)
    manifest = build(opened, output, spec, stream=in_process(opened, spec, output))
    return str(json.loads(manifest.read_text())["content_hash"])


def strike(builder: Builder, way: str, draw: random.Random) -> None:
    """Run the build to a random moment and kill. Where only workers die it goes on by itself, and is waited for."""
    before = builder.num_receipts()
    process = builder.start()
    builder.wait_for(process, before + draw.randint(0, (NUM_RECORDS - before) // 3))
    assert process.poll() is None, builder.said()
    # A cluster that the build joined is a child of this process, one that it started is below the build.
    killed = kill_workers(os.getpid(), draw) if "workers" in way else 0
    assert killed or "workers" not in way, "no worker was caught at work"
    if "driver" in way:
        process.kill()
    if way == "everything":
        os.killpg(process.pid, signal.SIGKILL)
    ended = process.wait(600)
    assert ended == (0 if way == "workers" else -signal.SIGKILL), builder.said()
    print(f"killed {way} at {builder.num_receipts() or NUM_RECORDS} of {NUM_RECORDS} shards")


@pytest.fixture
def builder(ray_cluster: Any, source: Path, repo_root: Path, bare_env: dict[str, str], tmp_path: Path) -> Iterator[Builder]:
    """The build as a user of a running cluster starts it: the cluster, and its workers for a moment, outlive the driver."""
    env = bare_env | {"RAY_ADDRESS": ray_cluster.address_info["address"]}
    made = Builder(repo_root, source, tmp_path / "out", env, tmp_path / "log")
    yield made
    made.clear()


def test_one_build_killed_five_times(builder: Builder, undisturbed: str) -> None:
    """Driver, or workers and driver, five times in a row: no shard is lost, nothing looks like a set, the end is the same hash."""
    draw, kept = random.Random(4), 0
    for number in range(NUM_KILLS):
        strike(builder, ("driver", "workers and driver")[number % 2], draw)
        assert not builder.output.exists(), "a killed build leaves nothing that looks like a dataset"
        assert builder.num_receipts() >= kept, "a finished shard was lost"
        kept = builder.num_receipts()
    assert builder.finish() == undisturbed


@pytest.mark.parametrize("number", range(NUM_KILLS))
def test_each_of_five_builds_ends_in_the_same_hash(number: int, builder: Builder, undisturbed: str) -> None:
    """One kill each, at a moment and in a way of its own; where only workers died the build ends by itself, else it goes on."""
    way = ("workers", "driver", "workers and driver")[number % 3]
    strike(builder, way, random.Random(100 + number))
    digest = builder.committed() if way == "workers" else builder.finish()
    assert digest == undisturbed
    rejects = [json.loads(line)["id"] for line in (builder.output / "rejects.jsonl").read_text().splitlines()]
    assert tuple(rejects) == DAMAGED


def test_a_build_whose_own_cluster_dies_with_it(builder: Builder, undisturbed: str) -> None:
    """Driver, workers and Ray itself at once, as when a machine loses its power: the next run starts a cluster and goes on."""
    builder.env["RAY_ADDRESS"] = "local"
    strike(builder, "everything", random.Random(9))
    assert builder.finish() == undisturbed
