"""Stories of two workers that follow one name: what they load, and what is published."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bfs_serve.job.engine import Pin
from bfs_serve.model.fake import FakeEngine
from bfs_serve.model.models import Models
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

loads: list[str] = []


class Counting(FakeEngine):
    """Notes each version that is loaded."""

    def __init__(self, name: str, pin: Pin) -> None:
        loads.append(pin.version)
        super().__init__(name, pin)


def held_up(begun: threading.Event, go_on: threading.Event) -> type[Counting]:
    """An engine whose loading says that it has begun, and ends when it may go on."""

    class Slow(Counting):
        def __init__(self, name: str, pin: Pin) -> None:
            begun.set()
            go_on.wait()
            super().__init__(name, pin)

    return Slow


Story = Callable[[Models, Models, JobStore, Path], Coroutine[Any, Any, None]]


def play(tmp_path: Path, story: Story) -> None:
    """Two workers on one store; the name means what a file says."""

    async def main() -> None:
        store, blobs, file = JobStore(str(tmp_path / "jobs.db")), Blobs(str(tmp_path / "blobs")), tmp_path / "version"
        file.write_text("v1")
        loads.clear()
        name = f"fake?version_file={file}"
        first, second = (Models([name], Counting, store, blobs, worker, follow_s=0.05) for worker in ("a", "b"))
        await asyncio.gather(first.start(), second.start())
        try:
            await asyncio.wait_for(story(first, second, store, file), 300)
        finally:
            store.close()

    asyncio.run(main())


async def version_of(store: JobStore) -> tuple[str, dict[str, Any]]:
    ((version, body),) = (await store.published()).values()
    return version, body
