"""Stories: what two processes do with one store, told in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, NewJob, Outcome, Wanted

NEW = NewJob(owner="ann", kind="layer", order={"prompt": "a ball"}, model="tiny", version="v1", num_bytes=100)
DONE = Outcome(True, {"pictures": []}, (), 40)
ANY = Wanted(("layer",))


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


Story = Callable[[JobStore, JobStore, Clock], Coroutine[Any, Any, None]]


def play(url: str, story: Story, limits: Limits | None = None) -> None:
    """Run a story with two stores on one database, as two processes have them."""

    @asynccontextmanager
    async def stores() -> AsyncIterator[tuple[JobStore, JobStore, Clock]]:
        clock = Clock()
        first, second = JobStore(url, limits, clock), JobStore(url, limits, clock)
        yield first, second, clock
        first.close()
        second.close()

    async def run() -> None:
        async with stores() as (first, second, clock):
            await asyncio.wait_for(story(first, second, clock), 60)

    asyncio.run(run())


async def submitted(store: JobStore, new: NewJob = NEW) -> str:
    outcome = await store.submit(new)
    assert isinstance(outcome, Accepted), outcome
    return outcome.job.id
