"""The build as a Ray Data stream: the same bytes as the plain loop, whatever the parallelism and whoever is killed."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bfs_model import integrity
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec, ExecutionSpec

# Ray Data's own context object warns about its own defaults when it is first made.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")]


def content_hash(manifest: Path) -> str:
    integrity.verify(manifest.parent, "dataset")
    return str(json.loads(manifest.read_text())["content_hash"])


def test_ray_equals_the_plain_loop_at_any_parallelism(
    ray_cluster: Any, rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, bundle_path: Path
) -> None:
    """Encoded, with one and with three workers per stage, those with little room: the content hash is that of a loop in one process."""
    from ray.data import DataContext

    source, base = open_source("rorem", rorem_seven), str(bundle_path)
    loop = in_process(source, encoded_spec, tmp_path / "plain", base)
    plain = content_hash(build(source, tmp_path / "plain", encoded_spec, base, stream=loop))
    for workers, encoders, mib in ((1, 1, None), (3, 2, 1)):
        execution = ExecutionSpec(cpu_workers=workers, encoders=encoders, store_mib=mib)
        spec = encoded_spec.model_copy(update={"execution": execution})
        assert content_hash(build(source, tmp_path / f"ray{workers}", spec, base)) == plain
        allowed = DataContext.get_current().execution_options.resource_limits.object_store_memory
        assert allowed == (float("inf") if mib is None else mib * 2**20)


def test_pixels_only_and_bad_records_on_ray(ray_cluster: Any, rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Without encoders, with a reject: the same as the plain loop, rejects included."""
    import shutil

    root = Path(shutil.copytree(rorem_seven, tmp_path / "input"))
    (root / "mask" / "0003.png").write_bytes(b"GIF89a")
    source = open_source("rorem", root)
    plain = content_hash(build(source, tmp_path / "plain", pixel_spec, stream=in_process(source, pixel_spec, tmp_path / "plain")))
    assert content_hash(build(source, tmp_path / "ray", pixel_spec)) == plain
    assert '"id": "0003", "reason": "unreadable"' in (tmp_path / "ray" / "rejects.jsonl").read_text()


def test_killed_workers_change_nothing(ray_cluster: Any, rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """kill -9 of up to five workers while they build: every record exactly once, and the hash of an undisturbed build."""
    spec = pixel_spec.model_copy(update={"records_per_shard": 1})
    source = open_source("rorem", rorem_seven)
    plain = content_hash(build(source, tmp_path / "plain", spec, stream=in_process(source, spec, tmp_path / "plain")))
    done = threading.Event()
    killed: list[int] = []

    def killer() -> None:
        while not done.is_set() and len(killed) < 5:
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.name().startswith("ray::MapBatches(") and process.pid not in killed:
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        break
                except (psutil.Error, ProcessLookupError):
                    continue
            time.sleep(0.02)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        manifest = build(source, tmp_path / "ray", spec)
    finally:
        done.set()
        thread.join()
    assert killed, "no worker was caught at work"
    assert content_hash(manifest) == plain
