"""Hearing that something in the store has changed, without asking it again and again; waiting for jobs to end, and following them.

SQLite: `PRAGMA data_version` of a connection that only watches, a few microseconds each time, and asked when the system says that
the write-ahead log was written to. PostgreSQL: LISTEN and NOTIFY.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bfs_serve.store.database import Database
from bfs_serve.store.inotify import Written
from bfs_serve.telemetry.logs import log

_LOOK_S = 0.01  # between two looks at a file, where the system does not tell of writing
_SELDOM_S = 0.1  # where it does: what it did not tell of is seen so late at most
_SETTLING_S = (0.0002, 0.001, 0.008)  # a change is there for others a moment after it was written
_LINGER_S = 1.0  # who waited may wait again
_RETRY_S = 1.0
_LISTEN_S = 0.5
_PATIENCE_S = 5.0  # after so long without a change it is looked anyway: a lease may have run out

Future = asyncio.Future[None]


class Changes:
    """Wakes whoever waits when any process has committed a change. Belongs to one event loop; made on its first use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._waiting = 0
        self._listener: threading.Thread | None = None
        self._closed = False

    def mark(self) -> asyncio.Event:
        """What will be set at the next change. Take it before reading, wait for it after: nothing in between is missed."""
        self._watch()
        return self._changed

    async def wait(self, mark: asyncio.Event, timeout_s: float) -> None:
        """Return at the change that `mark` stands for, or when the time is over."""
        self._waiting += 1
        self._watch()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await mark.wait()
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._closed = True
        if self._watcher is not None:
            self._watcher.cancel()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _watch(self) -> None:
        if self._database.is_sqlite:
            if self._watcher is None or self._watcher.done():
                self._watcher = asyncio.create_task(self._look())
        elif self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = threading.Thread(target=self._listen, args=(loop,), name="store-changes", daemon=True)
            self._listener.start()

    async def _look(self) -> None:
        """Watch the file for as long as somebody waits, and a little longer."""
        import sqlite3

        connection = sqlite3.connect(str(self._database.url.database))
        version = _version(connection)
        written: Written | None = None
        with contextlib.suppress(OSError):
            written = Written(f"{self._database.url.database}-wal")
        try:
            watched_until = time.monotonic() + _LINGER_S
            while time.monotonic() < watched_until and not self._closed:
                if written is None:
                    await asyncio.sleep(_LOOK_S)
                heard = written is not None and await written.wait(_SELDOM_S)
                for pause_s in _SETTLING_S if heard else (0.0,):
                    await asyncio.sleep(pause_s)
                    if (seen := _version(connection)) != version:
                        version = seen
                        self._tell()
                if self._waiting:
                    watched_until = time.monotonic() + _LINGER_S
        finally:
            if written is not None:
                written.close()
            connection.close()
            self._tell()  # what changes from now on is not seen: whoever holds a mark looks again

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        import psycopg

        url = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._closed and not loop.is_closed():
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("LISTEN bfs")
                    self._tell_on(loop)  # what happened while nobody listened
                    while not self._closed:
                        if list(connection.notifies(timeout=_LISTEN_S, stop_after=1)):
                            self._tell_on(loop)
            except (psycopg.Error, OSError) as error:
                log.warning("the store's changes are not heard for now", error=f"{type(error).__name__}: {error}"[:500])
                self._tell_on(loop)
                time.sleep(_RETRY_S)

    def _tell_on(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._tell)


class Waiting:
    """Whenever something has changed, one look at the store for all jobs that are waited for.

    `ended` says which of some jobs are not under way any more; it is asked of all at once. Belongs to one event loop.
    """

    def __init__(self, changes: Changes, ended: Callable[[Collection[str]], Awaitable[set[str]]]) -> None:
        self._changes, self._ended = changes, ended
        self._futures: dict[str, set[Future]] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def end_of(self, job_id: str) -> AsyncIterator[Future]:
        """What is done once a job has ended, if it does within the block; one that has ended before may not be noticed for a while."""
        future: Future = asyncio.get_running_loop().create_future()
        self._futures.setdefault(job_id, set()).add(future)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield future
        finally:
            if not future.cancel() and not future.cancelled():
                future.exception()  # who waited may have heard of it another way
            with contextlib.suppress(KeyError):
                self._futures[job_id].discard(future)
                if not self._futures[job_id]:
                    del self._futures[job_id]

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        """For as long as somebody waits."""
        while self._futures:
            mark = self._changes.mark()
            try:
                ended = await self._ended([*self._futures])
            except Exception as error:  # of the store: those who wait can say it, and may ask again
                self._tell([*self._futures], error)
                return
            self._tell(ended)
            if self._futures:
                await self._changes.wait(mark, _PATIENCE_S)

    def _tell(self, job_ids: Collection[str], error: Exception | None = None) -> None:
        for job_id in job_ids:
            for future in self._futures.pop(job_id, set()):
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)


@dataclass(eq=False)
class _Follower:
    """Somebody who has heard `after` events of a job, and waits for another one."""

    job_id: str
    after: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Following:
    """Whenever something has changed, one look at the store for all jobs that are followed, however many follow.

    `told` says how many events there are of some jobs; of those that are gone, nothing. Belongs to one event loop.
    """

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


def _version(connection: Any) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
