"""Following jobs: whenever something has changed, one look at the store for all that are followed here, however many follow."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from bfs_serve.store.changes import Changes


@dataclass(eq=False)
class _Follower:
    """Somebody who has heard `after` events of a job, and waits for another one."""

    job_id: str
    after: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Following:
    """`told` says how many events there are of some jobs; of those that are gone, nothing. Belongs to one event loop."""

    def __init__(self, changes: Changes, told: Callable[[Collection[str]], Awaitable[dict[str, int]]]) -> None:
        self._changes, self._told = changes, told
        self._followers: set[_Follower] = set()
        self._looking: asyncio.Task[None] | None = None

    async def more(self, job_id: str, after: int, mark: asyncio.Event, patience_s: float) -> None:
        """Return once a job has more than `after` events, or is gone, or patience is over.

        `mark`: of `Changes`, taken before the events so far were read, so that none in between is missed.
        """
        if mark.is_set():
            return
        follower = _Follower(job_id, after)
        self._followers.add(follower)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(mark))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await follower.woken.wait()
        finally:
            self._followers.discard(follower)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self, mark: asyncio.Event) -> None:
        """For as long as somebody follows, at each change."""
        while self._followers:
            await self._changes.wait(mark, 1.0)
            if not mark.is_set():
                continue
            mark = self._changes.mark()
            try:
                told = await self._told({follower.job_id for follower in self._followers})
            except Exception:  # of the store: those who follow ask it themselves, and hear why not
                told = {}
            for follower in self._followers:
                if told.get(follower.job_id, follower.after + 1) > follower.after:
                    follower.woken.set()
