"""Journals of processes that have ended: a tracking server that was away then gets them from whoever comes next on this machine."""

import contextlib
import time
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from bfs_platform.tracking.journal import Journal
from bfs_platform.tracking.run import Run
from bfs_platform.tracking.uri import bfs_home

FOLDER = "tracking"


def finish(run: Run) -> bool:
    """Close a run that went well, and deliver what is left of it and of others before. Returns whether nothing is left of it."""
    if not run.finish("FINISHED"):
        return False
    deliver_left_behind(run.uri)
    return True


def deliver_left_behind(uri: str, within_s: float = 15.0) -> int:
    """Deliver to the server at `uri` what is meant for it. One process at a time does this. Returns the number of events left."""
    folder, deadline = bfs_home() / FOLDER, time.monotonic() + within_s
    if not _journals(folder, uri):
        return 0
    with contextlib.suppress(Timeout), FileLock(folder / ".delivering", timeout=0):
        runs = [Run.attach(run_id, uri, path) for _, run_id, path in sorted(_journals(folder, uri))]
        return sum(run.flush(max(0.0, deadline - time.monotonic())) for run in runs)
    return 0


def _journals(folder: Path, uri: str) -> list[tuple[bool, str, Path]]:
    """Of processes that have ended: run and path, those first that create their run, since others join it."""
    found = []
    for path in folder.glob("*-[0-9]*.jsonl"):
        run_id, _, pid = path.stem.rpartition("-")
        events = Journal(path).events()
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and events and events[0].get("uri", uri) == uri:
            found.append((events[0]["op"] != "start", run_id, path))
    return found
