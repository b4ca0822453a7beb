"""Waiting for the ends of jobs: nothing is missed, and the store is asked once for all who wait."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bfs_serve.store import upkeep
from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Claim, NewJob, Outcome, Wanted

NUM_JOBS = 12
PATIENCE_S = 600.0
Looks = list[int]


def play(tmp_path: Path, story: Callable[[JobStore, JobStore], Coroutine[Any, Any, None]]) -> None:
    """Two stores of one file, as two processes have them."""

    async def main() -> None:
        here, there = (JobStore(str(tmp_path / "jobs.db")) for _ in range(2))
        try:
            await story(here, there)
        finally:
            here.close()
            there.close()

    asyncio.run(main())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """For how many jobs the store was asked, each time."""
    counted: Looks = []
    under_way = upkeep.under_way

    def counting(connection: Any, job_ids: Collection[str], now: float) -> set[str]:
        counted.append(len(job_ids))
        return under_way(connection, job_ids, now)

    monkeypatch.setattr(upkeep, "under_way", counting)
    return counted


async def taken(store: JobStore) -> list[Claim]:
    """Jobs that a worker has taken."""
    for _ in range(NUM_JOBS):
        assert isinstance(await store.submit(NewJob("ann", "layer", {}, model="m")), Accepted)
        await store.claim("worker", Wanted(("layer",)), 1, PATIENCE_S)
    jobs = (await store.page("ann")).jobs
    return [Claim(job.id, job.attempt, job.kind, {}, job.model, "", "", 0.0) for job in jobs]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_one_look_is_for_all_who_wait(tmp_path: Path, looks: Looks) -> None:
    """Each hears of the end of its own job, and of no other."""

    async def story(here: JobStore, there: JobStore) -> None:
        claims = await taken(there)
        waiting = [asyncio.create_task(here.wait("ann", claim.id, PATIENCE_S)) for claim in claims]
        await until(lambda: NUM_JOBS in looks and looks.count(1) >= NUM_JOBS)  # each has asked for its own, once
        looks.clear()
        await there.finish(claims[0].id, claims[0].attempt, Outcome(True, {}))
        job = await waiting[0]
        assert job is not None and job.status == "succeeded" and not any(one.done() for one in waiting[1:])
        assert set(looks) <= {NUM_JOBS, NUM_JOBS - 1}
        for claim in claims[1:]:
            await there.cancel("ann", claim.id)
        ends = await asyncio.gather(*waiting[1:])
        assert {job.status for job in ends if job is not None} == {"canceled"}

    play(tmp_path, story)


def test_what_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is what nobody knows, or what is another owner's; and a wait without an end gives the job as it is."""

    async def story(here: JobStore, there: JobStore) -> None:
        claims = await taken(there)
        await there.finish(claims[0].id, claims[0].attempt, Outcome(True, {}))
        job = await here.wait("ann", claims[0].id, PATIENCE_S)
        assert job is not None and job.status == "succeeded"
        assert await here.wait("ann", "0" * 32, PATIENCE_S) is None
        running = await here.wait("ann", claims[1].id, 0.01)
        assert running is not None and running.status == "running"

    play(tmp_path, story)


def test_who_waits_hears_that_the_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reaches all of them; afterwards it is waited as before."""

    async def story(here: JobStore, there: JobStore) -> None:
        claims = await taken(there)
        waiting = [asyncio.create_task(here.wait("ann", claim.id, PATIENCE_S)) for claim in claims[:3]]
        await until(lambda: len(here.waiting._futures) == 3)
        with monkeypatch.context() as away:
            away.setattr(upkeep, "under_way", _raising)
            await there.beat(claims[5].id, claims[5].attempt, PATIENCE_S, 1, 4)
            ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(end) for end in ends} == {ConnectionError}
        again = asyncio.create_task(here.wait("ann", claims[0].id, PATIENCE_S))
        await until(lambda: claims[0].id in here.waiting._futures)
        await there.finish(claims[0].id, claims[0].attempt, Outcome(True, {}))
        job = await again
        assert job is not None and job.status == "succeeded"

    play(tmp_path, story)


def _raising(*_: Any, **__: Any) -> set[str]:
    raise ConnectionError("the store is away")


def test_one_look_is_for_all_who_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those are woken of whose jobs more is told, each hears all of it in order, and a flood of followers costs one query a change."""
    counted: Looks = []
    asked, told = upkeep.events_after, upkeep.told

    def asking(*args: Any, **kwargs: Any) -> Any:
        counted.append(1)
        return asked(*args, **kwargs)

    looked: Looks = []

    def looking(connection: Any, job_ids: Collection[str], now: float) -> dict[str, int]:
        looked.append(len(job_ids))
        return told(connection, job_ids, now)

    monkeypatch.setattr(upkeep, "events_after", asking)
    monkeypatch.setattr(upkeep, "told", looking)

    async def story(here: JobStore, there: JobStore) -> None:
        claims = await taken(there)
        heard: dict[str, list[tuple[int, str]]] = {claim.id: [] for claim in claims}

        async def follow(job_id: str) -> None:
            async for event in here.events("ann", job_id):
                heard[job_id].append((event.id, event.name))

        following = [asyncio.create_task(follow(claim.id)) for claim in claims]
        await until(lambda: all(len(events) == 2 for events in heard.values()))
        await asyncio.sleep(0.3)  # all wait by now
        counted.clear()
        looked.clear()
        first = claims[0]
        assert await there.beat(first.id, first.attempt, PATIENCE_S, 1, 4)
        await until(lambda: len(heard[first.id]) == 3)
        assert len(counted) <= 3 and NUM_JOBS in looked, "others asked for events that there are not"
        for claim in claims:
            await there.finish(claim.id, claim.attempt, Outcome(True, {}))
        await asyncio.wait_for(asyncio.gather(*following), 60)
        assert heard[first.id] == [(1, "queued"), (2, "started"), (3, "progress"), (4, "succeeded")]
        assert all(heard[claim.id][-1] == (3, "succeeded") for claim in claims[1:])

    play(tmp_path, story)
