"""Hearing of changes: at once, of every one, and at little cost while nothing happens."""

import asyncio
import time
from pathlib import Path

import pytest

from bfs_serve.store import changes
from bfs_serve.store.jobs import JobStore

ROUNDS = 30


async def _waits(store: JobStore, other: JobStore) -> list[float]:
    """How long each change of another process's store takes to be heard of."""
    found = []
    for number in range(ROUNDS):
        mark = store.changes.mark()
        waiting = asyncio.create_task(store.changes.wait(mark, 5.0))
        await asyncio.sleep(0.02)
        await other.hold("lease", f"{number}", 0.0)
        began = time.monotonic()
        await waiting
        found.append(time.monotonic() - began)
        assert mark.is_set()
    return found


def _both(tmp_path: Path) -> list[float]:
    async def main() -> list[float]:
        stores = [JobStore(str(tmp_path / "jobs.db")) for _ in range(2)]
        try:
            return await _waits(*stores)
        finally:
            for store in stores:
                store.close()

    return asyncio.run(main())


def test_writing_is_heard_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With looks so seldom that only the system's word can be why every change is seen before the next one."""
    monkeypatch.setattr(changes, "_SELDOM_S", 60.0)
    assert max(_both(tmp_path)) < 4.0


def test_where_the_system_does_not_tell_the_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems without inotify."""

    def none(path: str) -> None:
        raise OSError(path)

    monkeypatch.setattr(changes, "Written", none)
    assert max(_both(tmp_path)) < 4.0
