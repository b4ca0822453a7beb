"""The store: owners, expiry, memory."""

import dataclasses

import pytest

from bfs_serve.jobs import Job, JobStore, view
from bfs_serve.orders import Drawing, ModelInfo, Order
from bfs_serve.problems import Problem


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def drawing(num_bytes: int = 10) -> Drawing:
    return Drawing(b"l" * num_bytes, 7, ModelInfo("fake", "1" * 64), 0.5)


def finished(store: JobStore, order: Order, job_id: str, num_bytes: int = 10) -> Job:
    job = Job(job_id, "ann", dataclasses.replace(order, background=b"b" * 10), store.clock())
    assert store.add(job)
    job.start(store.clock())
    job.finish(store.clock(), drawing(num_bytes))
    store.finished(job)
    return job


def test_a_finished_job_expires(order: Order, clock: Clock) -> None:
    """It is there until its time to live is over, and then it is not."""
    store = JobStore(60, 1000, clock)
    finished(store, order, "a")
    clock.now += 59.9
    assert store.get("ann", "a") is not None
    clock.now += 0.1
    assert store.get("ann", "a") is None
    assert store.num_bytes == 0


def test_an_unfinished_job_never_expires(order: Order, clock: Clock) -> None:
    """However long the queue is."""
    store = JobStore(60, 1000, clock)
    store.add(Job("a", "ann", dataclasses.replace(order, background=b"b"), clock()))
    clock.now += 1e6
    assert store.get("ann", "a") is not None


def test_another_owner_sees_nothing(order: Order, clock: Clock) -> None:
    """Not even that the job exists."""
    store = JobStore(60, 1000, clock)
    finished(store, order, "a")
    assert store.get("bob", "a") is None


def test_the_oldest_results_make_room(order: Order, clock: Clock) -> None:
    """Memory is bounded: finished jobs go first in first out, unfinished ones stay, and then there is no room."""
    store = JobStore(60, 70, clock)
    finished(store, order, "a")
    finished(store, order, "b")
    waiting = Job("c", "ann", dataclasses.replace(order, background=b"b" * 45), clock())
    assert store.add(waiting)
    assert store.get("ann", "a") is None and store.get("ann", "b") is not None
    assert not store.add(Job("d", "ann", dataclasses.replace(order, background=b"b" * 26), clock()))
    assert store.get("ann", "c") is waiting and store.num_bytes == 45


def test_a_drawing_is_there_when_its_job_ends(order: Order, clock: Clock) -> None:
    """Also where waiting uploads fill the store: it makes older drawings go, never itself."""
    store = JobStore(60, 100, clock)
    finished(store, order, "old")
    assert store.add(Job("waiting", "ann", dataclasses.replace(order, background=b"b" * 70), clock()))
    finished(store, order, "new", num_bytes=60)
    assert store.get("ann", "new") is not None and store.get("ann", "old") is None


def test_forgetting_drops_the_idempotency_key(order: Order, clock: Clock) -> None:
    """A key lives as long as its job."""
    store = JobStore(60, 1000, clock)
    job = Job("a", "ann", order, clock())
    store.max_bytes = 10**6
    store.add(job, "key", "hash")
    assert store.known("ann", "key") == ("hash", job) and store.known("bob", "key") is None
    job.finish(clock(), None)
    store.finished(job)
    store.forget(job)
    assert store.known("ann", "key") is None


def test_view_says_what_happened(order: Order, clock: Clock) -> None:
    """Times in UTC, durations in seconds, no member without a value."""
    store = JobStore(60, 10**6, clock)
    job = Job("a" * 32, "ann", order, clock())
    store.add(job)
    assert view(job, store)["queue_position"] == 0 and "started_at" not in view(job, store)
    clock.now += 2
    job.start(clock())
    job.advance(1, 3)
    assert view(job, store)["progress"] == {"step": 1, "steps": 3}
    clock.now += 3
    job.finish(clock(), drawing())
    store.finished(job)
    shown = view(job, store)
    assert (shown["created_at"], shown["expires_at"]) == ("1970-01-01T00:16:40.000Z", "1970-01-01T00:17:45.000Z")
    assert shown["timings"] == {"queued_s": 2.0, "generation_s": 0.5, "total_s": 5.0}
    assert "problem" not in shown and "queue_position" not in shown


def test_a_failed_job_shows_its_problem(order: Order, clock: Clock) -> None:
    """As a problem document that names the job."""
    store = JobStore(60, 10**6, clock)
    job = Job("a" * 32, "ann", order, clock())
    job.finish(clock(), Problem("internal", "It broke."))
    problem = view(job, store)["problem"]
    assert (problem["status"], problem["instance"]) == (500, f"/v1/jobs/{job.id}")
    assert job.events[-1].is_final and job.events[-1].name == "failed"
