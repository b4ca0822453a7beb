"""What a build holds in Ray's object store at its peak: with sixteen times the records no more than with four, once it is full.

What fills it is what the stages may have waiting: `execution.store_mib`, which here is small, so that a small build reaches it.
BFS_BENCH_STORE_RECORDS changes how many one time is (64).
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import write_rorem
from measuring import Row, circumstances, table

from bfs_model.tiny.components import random_bundle
from bfs_platform.config import resolve
from bfs_platform.data.execute.build import build
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec

pytestmark = pytest.mark.bench

NUM_RECORDS = int(os.environ.get("BFS_BENCH_STORE_RECORDS", "64"))
# Small pictures and an encoder of random weights: what counts is how many units wait between the stages, not what they hold.
CHANGES = (
    *("buckets=[[32,32]]", "records_per_shard=4", "max_reject_rate=0.5", "checks.duplicate_bits=null", "stage=1"),
    "execution.store_mib=1",
)


class Peak:
    """Samples the bytes in the object store while it is entered."""

    def __init__(self, used: Callable[[], int]) -> None:
        self.used, self.most, self.samples = used, 0, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.over.is_set():
            self.most, self.samples = max(self.most, self.used()), self.samples + 1
            time.sleep(0.02)

    def __enter__(self) -> "Peak":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def store_bytes() -> Callable[[], int]:
    """A function that asks the cluster how many bytes its object store holds now, spilled ones included."""
    import ray
    from ray._private import internal_api

    state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)

    def used() -> int:
        stats = internal_api.get_memory_info_reply(state).store_stats
        return int(stats.object_store_bytes_used + stats.spilled_bytes_total)

    return used


def test_peak_does_not_grow_with_the_records(ray_cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the peak at 1, 4 and 16 times the records, of one kind of build; sixteen times may hold at most half as much again as four."""
    spec = resolve("tabletop_data_stage1", CHANGES, DataSpec)
    base = random_bundle(tmp_path / "bundle")
    used = store_bytes()
    rows, peaks = [], []
    for factor in (1, 4, 16):
        root = write_rorem(tmp_path / f"input{factor}", NUM_RECORDS * factor, size=32)
        at_rest = used()
        with Peak(used) as peak:
            manifest = build(open_source("rorem", root), tmp_path / f"out{factor}", spec, str(base))
        num_bytes = sum(path.stat().st_size for path in manifest.parent.rglob("*.parquet"))
        peaks.append((peak.most - at_rest) / 2**20)
        what = f"{factor} × {NUM_RECORDS} records, {num_bytes / 2**20:.1f} MiB of shards, {peak.samples} samples"
        rows.append(Row(f"peak in the object store, {what}", peaks[-1], unit=" MiB"))
    rows.append(Row("peak at 16 × ÷ peak at 4 ×", peaks[2] / peaks[1], target=1.5))
    with capsys.disabled():
        print(table("Object store of a build", rows, circumstances()))
    assert peaks[2] <= 1.5 * peaks[1]
