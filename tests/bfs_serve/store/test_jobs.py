"""The job store, on SQLite and on a real PostgreSQL: what becomes of jobs."""

import asyncio
from dataclasses import replace

import pytest

from bfs_model.errors import BadInput
from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import CANCELED, FAILED, QUEUED, SUCCEEDED, Limits, Outcome, Refusal, Wanted
from bfs_serve.store.work import MAX_LOSSES

from .stories import ANY, DONE, NEW, Clock, play, submitted


def test_a_job_from_acceptance_to_result(url: str) -> None:
    """One process accepts, another works, and the first sees each event and the end."""

    async def story(ingress: JobStore, worker: JobStore, clock: Clock) -> None:
        job_id = await submitted(ingress)
        clock.now += 2
        (claim,) = await worker.claim("w", ANY, 1, 30)
        assert (claim.id, claim.attempt, claim.order, claim.waited_s) == (job_id, 1, {"prompt": "a ball"}, 2)
        assert await worker.beat(job_id, 1, 30, 1, 4) and await worker.finish(job_id, 1, DONE)
        job = await ingress.get("ann", job_id)
        assert job is not None and (job.status, job.outcome, job.expires_at) == (SUCCEEDED, {"pictures": []}, clock.now + 3600)
        names = [(event.id, event.name) async for event in ingress.events("ann", job_id)]
        assert names == [(1, "queued"), (2, "started"), (3, "progress"), (4, "succeeded")]
        assert [event.id async for event in ingress.events("ann", job_id, after=3)] == [4]
        assert await ingress.get("bob", job_id) is None

    play(url, story)


def test_who_waits_is_woken_by_another_process(url: str) -> None:
    """A result and a job are heard of long before anybody would ask again."""

    async def story(ingress: JobStore, worker: JobStore, clock: Clock) -> None:
        working = asyncio.create_task(worker.next("w", ANY, 1, 30, patience_s=30))
        await asyncio.sleep(0.3)
        job_id = await submitted(ingress)
        waiting = asyncio.create_task(ingress.wait("ann", job_id, 30))
        (claim,) = await asyncio.wait_for(working, 4)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await worker.finish(claim.id, 1, DONE)
        job = await asyncio.wait_for(waiting, 4)
        assert job is not None and job.status == SUCCEEDED

    play(url, story)


def test_no_job_is_claimed_twice(url: str) -> None:
    """Two workers that claim at the same moment, again and again, share the jobs."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        ids = {await submitted(first) for _ in range(20)}
        claims = await asyncio.gather(*(store.claim(f"w{n}", ANY, 1, 30) for n in range(15) for store in (first, second)))
        taken = [claim.id for found in claims for claim in found]
        assert len(taken) == 20 and set(taken) == ids

    play(url, story)


def test_a_lost_worker_costs_an_attempt_and_its_late_end_is_ignored(url: str) -> None:
    """An expired lease is all it takes; after the second loss the job fails, in a way that may be tried again."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        job_id = await submitted(first)
        await first.claim("lost", ANY, 1, 30)
        clock.now += 29
        assert await second.claim("w", ANY, 1, 30) == []
        clock.now += 2
        (claim,) = await second.claim("w", ANY, 1, 30)
        assert (claim.id, claim.attempt) == (job_id, 2)
        assert not await first.beat(job_id, 1, 30) and not await first.finish(job_id, 1, DONE)
        clock.now += 31
        assert await second.recover() == 1
        job = await first.get("ann", job_id)
        assert job is not None and job.status == FAILED and job.outcome is not None and job.outcome["slug"] == "interrupted"
        names = [event.name async for event in first.events("ann", job_id)]
        assert names == ["queued", "started", "queued", "started", "failed"]

    play(url, story)


def test_beats_keep_a_lease(url: str) -> None:
    """A drawing may take much longer than its lease."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        job_id = await submitted(first)
        await first.claim("w", ANY, 1, 30)
        for _ in range(10):
            clock.now += 25
            assert await first.beat(job_id, 1, 30) and await second.recover() == 0

    play(url, story)


def test_a_worker_that_stops_gives_back_what_it_holds(url: str) -> None:
    """As often as it likes: that is no loss."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        job_id = await submitted(first)
        for attempt in (1, 2, 3):
            (claim,) = await first.claim("w", ANY, 1, 30)
            assert (claim.id, claim.attempt) == (job_id, attempt) and await first.release("w") == 1
        job = await second.get("ann", job_id)
        assert job is not None and job.status == QUEUED

    play(url, story)


def test_what_is_canceled_while_its_worker_stops_stays_canceled(url: str) -> None:
    """Both at once, many times: the job is canceled in the end, whoever comes first."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        for _ in range(40):
            job_id = await submitted(first)
            await first.claim("w", ANY, 1, 30)
            await asyncio.gather(second.release("w"), first.cancel("ann", job_id))
            job = await first.get("ann", job_id)
            assert job is not None and job.status == CANCELED

    play(url, story)


def test_canceling(url: str) -> None:
    """A queued job is never claimed, a running one is told so at its next beat, a finished one stays as it is."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        queued, running = await submitted(first), await submitted(first)
        assert await first.cancel("ann", queued) and not await first.cancel("ann", queued)
        (claim,) = await second.claim("w", ANY, 2, 30)
        assert claim.id == running and not await first.cancel("bob", running) and await first.cancel("ann", running)
        assert not await second.beat(running, 1, 30, 1, 4) and not await second.finish(running, 1, DONE)
        finished = await submitted(first)
        await second.claim("w", ANY, 1, 30)
        await second.finish(finished, 1, DONE)
        assert not await first.cancel("ann", finished)
        jobs = {job.id: job.status for job in (await first.page("ann")).jobs}
        assert jobs == {queued: CANCELED, running: CANCELED, finished: SUCCEEDED}

    play(url, story)


def test_one_key_is_drawn_once(url: str) -> None:
    """However many requests race, in whatever process; another request under the same key is refused."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        keyed = replace(NEW, key="k", digest="d")
        outcomes = await asyncio.gather(*(store.submit(keyed) for _ in range(6) for store in (first, second)))
        assert len({o.job.id for o in outcomes if isinstance(o, Accepted)}) == 1
        assert sum(not o.replayed for o in outcomes if isinstance(o, Accepted)) == 1
        other = await first.submit(replace(keyed, digest="e"))
        assert isinstance(other, Refusal) and other.reason == Refusal.KEY_REUSED
        assert isinstance(await first.submit(replace(keyed, owner="bob", digest="e")), Accepted)

    play(url, story)


def test_a_key_outlives_its_result_and_opens_what_may_be_tried_again(url: str) -> None:
    """A success is replayed, a retryable failure drawn anew; after the result a key is spent, after its own time free."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        keyed = replace(NEW, key="k", digest="d")
        failed = await submitted(first, keyed)
        await first.claim("w", ANY, 1, 30)
        await first.finish(failed, 1, Outcome(False, {"slug": "internal", "detail": "x"}, retryable=True))
        again = await submitted(second, keyed)
        assert again != failed
        await first.claim("w", ANY, 1, 30)
        await first.finish(again, 1, DONE)
        assert await submitted(second, keyed) == again
        clock.now += 4000
        spent = await first.submit(keyed)
        assert isinstance(spent, Refusal) and spent.reason == Refusal.KEY_SPENT
        clock.now += 90000
        await first.purge()
        assert await submitted(first, keyed) not in (failed, again)

    play(url, story)


def test_a_key_is_remembered_as_long_as_its_result(url: str) -> None:
    """Also where the job took so long that the time of the key, which begins with the request, ends before that of the result."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        keyed = replace(NEW, key="k", digest="d")
        job_id = await submitted(first, keyed)
        clock.now += 80
        (claim,) = await second.claim("w", ANY, 1, 30)
        await second.finish(job_id, claim.attempt, DONE)
        clock.now += 90
        again = await first.submit(keyed)
        assert isinstance(again, Accepted) and again.replayed and again.job.id == job_id

    play(url, story, Limits(ttl_s=100, key_ttl_s=100))


def test_the_key_of_a_failure_is_never_spent(url: str) -> None:
    """A retryable failure leaves no result that a key could outlive: it opens again, before and after the job is forgotten."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        keyed, seen = replace(NEW, key="k", digest="d"), set()
        for purge in (False, True, False):
            job_id = await submitted(first, keyed)
            await first.claim("w", ANY, 1, 30)
            await first.finish(job_id, 1, Outcome(False, {"slug": "internal", "detail": "x"}, retryable=True))
            clock.now += 4000
            if purge:
                await second.purge()
            seen.add(job_id)
        assert len(seen) == 3

    play(url, story)


def test_limits_refuse_and_never_evict(url: str) -> None:
    """Of the queue, of one owner's queue, of one owner's bytes, of all bytes; each says which."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        for _ in range(2):
            await submitted(first)
        assert [r.reason for r in [await first.submit(NEW)] if isinstance(r, Refusal)] == [Refusal.OWNER_QUEUE_FULL]
        never = await first.submit(replace(NEW, owner="bob", num_bytes=801))
        assert isinstance(never, Refusal) and never.reason == Refusal.NEVER_FITS
        await submitted(second, replace(NEW, owner="bob", num_bytes=800))
        large = await first.submit(replace(NEW, owner="bob", num_bytes=1))
        assert isinstance(large, Refusal) and large.reason == Refusal.QUOTA
        full = await first.submit(replace(NEW, owner="cyd", num_bytes=101))
        assert isinstance(full, Refusal) and full.reason == Refusal.STORE_FULL
        await submitted(first, replace(NEW, owner="cyd", num_bytes=1))
        queue = await first.submit(replace(NEW, owner="dan", num_bytes=0))
        assert isinstance(queue, Refusal) and queue.reason == Refusal.QUEUE_FULL
        assert len((await first.page("bob")).jobs) == 1

    play(url, story, Limits(max_queued=4, owner_max_queued=2, max_bytes=1100, owner_max_bytes=800))


def test_a_result_that_outweighs_what_was_kept_free_for_it(url: str) -> None:
    """Fits into what its owner has left, or is none: what is asked small and comes out large passes no limit. It may be tried again."""

    async def story(store: JobStore, worker: JobStore, clock: Clock) -> None:
        worker.limit(Limits(owner_max_bytes=1000, max_bytes=1500))
        ids = [await submitted(store, replace(NEW, owner=owner, num_bytes=200)) for owner in ("ann", "bob", "ann")]
        weighs = dict(zip(ids, (801, 800, 200), strict=True))
        for _ in ids:
            (claim,) = await worker.claim("w", ANY, 1, 30)
            assert await worker.finish(claim.id, 1, replace(DONE, num_bytes=weighs[claim.id], blobs=(claim.id * 2,)))
        first, second = await store.get("ann", ids[0]), await store.get("bob", ids[1])
        assert first is not None and first.status == FAILED and first.outcome is not None and first.outcome["slug"] == "quota"
        assert second is not None and second.status == SUCCEEDED
        assert await store.used({job_id * 2 for job_id in ids}) == {ids[1] * 2, ids[2] * 2}
        assert (await store.depth()).num_bytes == 200 + 800 + 200

    play(url, story)


def test_what_has_expired_is_forgotten_with_its_pictures(url: str) -> None:
    """A picture goes when the last job that uses it does; an unfinished job never expires."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        shared, own, drawn = "a" * 64, "b" * 64, "c" * 64
        finished, open_job = await submitted(first, replace(NEW, blobs=(shared, own))), ""
        await first.claim("w", ANY, 1, 30)
        await first.finish(finished, 1, Outcome(True, {}, (drawn,), 7))
        open_job = await submitted(first, replace(NEW, blobs=(shared,)))
        assert (await first.depth()).num_bytes == 107
        clock.now += 3601
        assert await first.get("ann", finished) is None
        assert await second.purge() == [own, drawn] and await second.purge() == []
        assert await first.used({shared, own}) == {shared}
        job = await first.get("ann", open_job)
        assert job is not None and job.status == QUEUED and (await first.depth()).num_bytes == 100

    play(url, story)


def test_forgetting_a_finished_job(url: str) -> None:
    """Its owner may, once; nobody else, and never one that is not finished."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        job_id = await submitted(first)
        assert not await first.discard("ann", job_id)
        await first.claim("w", ANY, 1, 30)
        await first.finish(job_id, 1, DONE)
        assert not await first.discard("bob", job_id)
        assert await first.discard("ann", job_id) and not await first.discard("ann", job_id)
        assert await second.get("ann", job_id) is None

    play(url, story)


def test_pages_go_through_all_jobs_while_new_ones_come(url: str) -> None:
    """Newest first; a cursor goes on where the last page ended."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        ids = [await submitted(first) for _ in range(7)]
        await submitted(first, replace(NEW, owner="bob"))
        seen, cursor = [], None
        for number in range(3):
            page = await first.page("ann", limit=3, cursor=cursor)
            seen += [job.id for job in page.jobs]
            cursor = page.cursor
            assert (cursor is None) == (number == 2)
            await submitted(second)
        assert seen == ids[::-1]
        assert [job.position for job in (await first.page("ann", limit=1)).jobs] == [10]
        with pytest.raises(BadInput, match="cursor"):
            await first.page("ann", cursor="x")

    play(url, story)


def test_jobs_of_one_batch_are_claimed_together(url: str) -> None:
    """The oldest decides; others keep their place."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        batches = ["a", "b", "a", "a", "", ""]
        ids = [await submitted(first, replace(NEW, batch=batch)) for batch in batches]
        taken = [[ids.index(claim.id) for claim in await first.claim("w", ANY, 2, 30)] for _ in range(5)]
        assert taken == [[0, 2], [1], [3], [4], [5]]

    play(url, story)


def test_a_worker_takes_what_it_can_do(url: str) -> None:
    """Jobs of other kinds, and of models that it does not serve, stay for other workers."""

    async def story(ingress: JobStore, worker: JobStore, clock: Clock) -> None:
        await submitted(ingress, replace(NEW, kind="export", model=""))
        await submitted(ingress, replace(NEW, model="large"))
        tiny = await submitted(ingress)
        taken = await worker.next("w", Wanted(("layer",), ("tiny",)), 3, 30, patience_s=0)
        assert [claim.id for claim in taken] == [tiny]
        assert await worker.claim("w", Wanted(("layer",), ("tiny",)), 3, 30) == []

    play(url, story)


def test_a_job_that_nobody_takes_fails_in_the_end(url: str) -> None:
    """Its model may be served no more; for ever in the queue it would take the room of others."""

    async def story(ingress: JobStore, worker: JobStore, clock: Clock) -> None:
        job_id = await submitted(ingress)
        clock.now += 90
        assert await worker.recover() == 0
        job = await ingress.get("ann", job_id)
        assert job is not None and job.status == QUEUED
        clock.now += 20
        assert await worker.recover() == 0
        job = await ingress.get("ann", job_id)
        assert job is not None and (job.status, job.outcome and job.outcome["slug"]) == (FAILED, "interrupted")
        assert await worker.claim("w", ANY, 1, 30) == []

    play(url, story, Limits(key_ttl_s=100))


def test_what_ends_without_a_result_gives_back_what_was_kept_free_for_it(url: str) -> None:
    """Canceled, failed, and lost too often: the uploads alone are counted from then on. A result weighs what it weighs."""

    async def story(first: JobStore, second: JobStore, clock: Clock) -> None:
        new = replace(NEW, num_bytes=100, reserved=90)

        async def held() -> int:
            return (await first.depth()).num_bytes

        waiting = await submitted(first, new)
        assert await held() == 100 and await first.cancel("ann", waiting) and await held() == 10
        failing = await submitted(first, new)
        (claim,) = await second.claim("w", ANY, 1, 30)
        assert await held() == 110 and await second.finish(failing, claim.attempt, Outcome(False, {"slug": "internal"}))
        assert await held() == 20
        drawn = await submitted(first, new)
        (claim,) = await second.claim("w", ANY, 1, 30)
        assert await second.finish(drawn, claim.attempt, Outcome(True, {}, num_bytes=37)) and await held() == 57
        lost = await submitted(first, new)
        for _ in range(MAX_LOSSES):
            assert len(await second.claim("w", ANY, 1, 30)) == 1
            clock.now += 31
            await first.recover()
        job = await first.get("ann", lost)
        assert job is not None and job.status == FAILED and await held() == 67

    play(url, story)
