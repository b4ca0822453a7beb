"""The job store: every process of the service has one, and all see the same jobs. No process holds a job alone."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Any

from bfs_serve.store import intake, rows, totals, upkeep, versions, work
from bfs_serve.store.changes import Changes, Following, Waiting
from bfs_serve.store.database import Database
from bfs_serve.store.intake import Accepted
from bfs_serve.store.rates import Rates
from bfs_serve.store.records import Claim, Depth, Event, Job, Limits, NewJob, Outcome, Page, Refusal, Wanted
from bfs_serve.store.versions import Seen
from bfs_serve.telemetry.amounts import Amounts

_PATIENCE_S = 5.0  # after so long without a change, who waits looks anyway: a lease may have run out


class JobStore:
    """All operations are transactions on `url` (see `Database`); awaiting one never blocks the event loop.

    `clock` replaces the database's time in tests.
    """

    def __init__(self, url: str, limits: Limits | None = None, clock: Callable[[], float] | None = None) -> None:
        self.limits = limits or Limits()
        self._database = Database(url, clock)
        self.rates = Rates(self._database, self.limits.rate)
        self._changes: Changes | None = None
        self._waiting: Waiting | None = None
        self._following: Following | None = None

    def limit(self, limits: Limits) -> None:
        """Other limits, from now on."""
        self.limits, self.rates = limits, Rates(self._database, limits.rate)

    @property
    def is_shared_by_nodes(self) -> bool:
        """Whether processes of several machines can use it at once."""
        return not self._database.is_sqlite

    @property
    def place(self) -> str:
        return self._database.place

    # Callers

    async def submit(self, new: NewJob) -> Accepted | Refusal:
        """Take a job on. Its blobs must be stored already."""
        return await self._write(intake.submit, new, self.limits, alone=True)

    async def refusal(self, new: NewJob) -> Refusal | None:
        """Why `submit` would not take a job on now."""
        return await self._read(intake.refused, new, self.limits)

    async def full(self, owner: str) -> Refusal | None:
        """Why no further job of this owner may wait."""
        return await self._read(intake.full, owner, self.limits)

    async def get(self, owner: str, job_id: str) -> Job | None:
        """The job, if there is one and it is this owner's."""

        def read(connection: Any, now: float) -> Job | None:
            row = connection.execute(rows.by_id(job_id, now)).one_or_none()
            return rows.to_job(connection, row) if row is not None and row.owner == owner else None

        return await self._read(read)

    async def page(self, owner: str, status: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Jobs of an owner, newest first. Raises `BadInput` for a bad cursor."""
        return await self._read(upkeep.page, owner, status, limit, cursor)

    async def wait(self, owner: str, job_id: str, timeout_s: float) -> Job | None:
        """As `get`, once the job is finished or the time is over."""
        async with self.waiting.end_of(job_id) as ended:
            if job_id not in await self._ended([job_id]):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended, timeout_s)
        return await self.get(owner, job_id)

    async def events(self, owner: str, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """The job's events with an id above `after`, as they happen, to the final one. None where there is no such job."""
        last = max(after, 0)
        while True:
            mark = self.changes.mark()
            events = await self._read(upkeep.events_after, owner, job_id, last)
            if events is None:
                return
            for event in events:
                last = event.id
                yield event
                if event.is_final:
                    return
            await self.following.more(job_id, last, mark, _PATIENCE_S)

    async def cancel(self, owner: str, job_id: str) -> bool:
        """Cancel a job that is not finished. Returns whether this did; one that is finished stays as it is."""
        return await self._write(work.cancel, owner, job_id, self.limits)

    async def discard(self, owner: str, job_id: str) -> bool:
        """Forget a finished job and its pictures. Returns whether there was one."""
        return await self._write(upkeep.discard, owner, job_id)

    # Workers

    async def claim(self, worker: str, wanted: Wanted, count: int, lease_s: float) -> list[Claim]:
        """Take up to `count` jobs that can be done together; none where nothing waits."""
        if not await self._read(work.is_something_due, wanted):
            return []  # reading takes no lock
        return await self._write(work.claim, worker, wanted, count, lease_s, self.limits)

    async def next(self, worker: str, wanted: Wanted, count: int, lease_s: float, patience_s: float) -> list[Claim]:
        """As `claim`, and wait up to `patience_s` for a job to come."""
        deadline = time.monotonic() + patience_s
        while True:
            mark = self.changes.mark()
            claims = await self.claim(worker, wanted, count, lease_s)
            left_s = deadline - time.monotonic()
            if claims or left_s <= 0:
                return claims
            await self.changes.wait(mark, min(left_s, 1.0))

    async def beat(
        self, job_id: str, attempt: int, lease_s: float, step: int | None = None, steps: int | None = None, preview: str | None = None
    ) -> bool:
        """Prolong a lease and tell of progress. Returns whether the job is still wanted from this attempt."""
        return await self._write(work.beat, job_id, attempt, step, steps, preview, lease_s)

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> bool:
        """End a job. Returns whether it was this attempt's to end; a late one changes nothing."""
        return await self._write(work.finish, job_id, attempt, outcome, self.limits)

    async def release(self, worker: str) -> int:
        """Give all that a worker holds back to the queue."""
        return await self._write(lambda connection, now: work.release(connection, worker))

    # The service

    async def depth(self, kinds: tuple[str, ...] | None = None) -> Depth:
        """How much there is to do, of some kinds of jobs or of all."""
        return await self._read(upkeep.depth, kinds)

    async def count(self, amounts: Amounts) -> None:
        """Add to the totals of the service."""
        await self._write(lambda connection, now: totals.add(connection, amounts))

    async def totals(self) -> dict[str, dict[str, float]]:
        """{counter: {label: total}} since the store was made; see `store.totals`."""
        return await self._read(totals.read)

    async def hold(self, name: str, holder: str, lease_s: float) -> bool:
        """Take or prolong a lease that one holder has at a time."""
        return await self._write(upkeep.hold, name, holder, lease_s, alone=True)

    async def holders(self, prefix: str) -> int:
        """How many leases with names that begin like this are held."""
        return await self._read(upkeep.holders, prefix)

    async def let_go(self, name: str, holder: str) -> None:
        """Give a lease back."""
        await self._write(lambda connection, now: upkeep.let_go(connection, name, holder))

    async def publish(self, name: str, version: str, body: dict[str, Any]) -> None:
        """Say what a model's name means from now on."""
        await self._write(versions.publish, name, version, body)

    async def note(self, name: str, key: str, value: Any, empty: dict[str, Any]) -> None:
        """Write down one thing about a name, None to forget it; `empty` is what is published where nothing is yet."""
        await self._write(versions.note, name, key, value, empty, alone=True)

    async def published(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """{name: (version, body)} of all models that were published."""
        return await self._read(versions.published)

    async def seen(self, of: Sequence[str]) -> dict[str, Seen]:
        """How jobs of these versions ended so far."""
        return await self._read(versions.seen, of)

    async def take_back(self, name: str, version: str, body: dict[str, Any], withdrawn: str) -> int:
        """Publish, and have the published version draw what waits for the withdrawn one. Returns how many jobs that are."""
        return await self._write(versions.take_back, name, version, body, withdrawn)

    async def recover(self) -> int:
        """Queue jobs again whose lease ran out. `claim` does so too; this is for when nobody claims."""
        return await self._write(work.recover, self.limits)

    async def purge(self) -> list[str]:
        """Forget what has expired. Returns blobs that nobody uses any more."""
        return await self._write(upkeep.purge, alone=True)

    async def used(self, blobs: set[str]) -> set[str]:
        """Those of `blobs` that some job uses."""
        return await self._read(lambda connection, now: upkeep.used(connection, blobs))

    @property
    def changes(self) -> Changes:
        """Wakes who waits; made on the loop that first asks."""
        if self._changes is None:
            self._changes = Changes(self._database)
        return self._changes

    @property
    def waiting(self) -> Waiting:
        """Who waits for the ends of jobs; made on the loop that first asks."""
        if self._waiting is None:
            self._waiting = Waiting(self.changes, self._ended)
        return self._waiting

    @property
    def following(self) -> Following:
        """Who follows jobs; made on the loop that first asks."""
        if self._following is None:
            self._following = Following(self.changes, lambda job_ids: self._read(upkeep.told, job_ids))
        return self._following

    async def _ended(self, job_ids: Collection[str]) -> set[str]:
        """Those of some jobs that are not under way any more."""
        return set(job_ids) - await self._read(upkeep.under_way, job_ids)

    def close(self) -> None:
        """Let go of everything. Awaited operations end first."""
        for shared in (self._waiting, self._following):
            if shared is not None:
                shared.close()
        if self._changes is not None:
            self._changes.close()
        self._database.close()

    async def _read(self, query: Callable[..., Any], *args: Any) -> Any:
        def transaction() -> Any:
            with self._database.reading() as connection:
                return query(connection, *args, now=self._database.now(connection))

        return await self._database.run(transaction)

    async def _write(self, change: Callable[..., Any], *args: Any, alone: bool = False) -> Any:
        def transaction() -> Any:
            with self._database.writing(alone) as connection:
                return change(connection, *args, now=self._database.now(connection))

        return await asyncio.shield(asyncio.ensure_future(self._database.run(transaction)))
