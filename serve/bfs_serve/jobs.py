"""Jobs and where they are kept: a small state machine and a bounded store. No tasks, no clocks of its own, no HTTP."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from bfs_serve.orders import Drawing, Event, Order
from bfs_serve.problems import Problem

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELED = "queued", "running", "succeeded", "failed", "canceled"
MAX_JOBS = 1000


@dataclass(eq=False)
class Job:
    """One order on its way. `owner` is who may see it; times are seconds since the epoch."""

    id: str
    owner: str
    order: Order
    created_at: float
    status: str = QUEUED
    started_at: float | None = None
    finished_at: float | None = None
    drawing: Drawing | None = None
    problem: Problem | None = None
    progress: tuple[int, int] | None = None
    events: list[Event] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, name: str, data: dict[str, Any]) -> None:
        """Append an event and wake whoever waits for one."""
        self.events.append(Event(len(self.events) + 1, name, data))
        self._news.set()
        self._news = asyncio.Event()

    async def news(self) -> None:
        """Wait for the next event."""
        await self._news.wait()

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def num_bytes(self) -> int:
        return self.order.num_bytes + (self.drawing.num_bytes if self.drawing else 0)

    def start(self, now: float) -> None:
        self.status, self.started_at, self.progress = RUNNING, now, None
        self.publish("started", {"seed": self.order.seed})

    def requeue(self) -> None:
        """Back to the queue: the worker died, and the order, seed included, can simply be drawn again."""
        self.status, self.started_at, self.progress = QUEUED, None, None
        self.publish("queued", {"reason": "the worker was lost"})

    def advance(self, step: int, steps: int) -> None:
        self.progress = (step, steps)
        self.publish("progress", {"step": step, "steps": steps})

    def finish(self, now: float, outcome: Drawing | Problem | None) -> None:
        """End with a drawing (succeeded), a problem (failed) or nothing (canceled)."""
        assert not self.is_finished, f"job {self.id} is finished already"
        self.finished_at = now
        if isinstance(outcome, Drawing):
            self.status, self.drawing = SUCCEEDED, outcome
            self.publish("succeeded", {"seed": outcome.seed, "model": outcome.model.label, "result": f"/v1/jobs/{self.id}/result"})
        elif isinstance(outcome, Problem):
            self.status, self.problem = FAILED, outcome
            self.publish("failed", {"problem": outcome.body(f"/v1/jobs/{self.id}")})
        else:
            self.status = CANCELED
            self.publish("canceled", {})


class JobStore:
    """Keeps jobs until they expire, or until memory is needed: then the oldest finished ones go first."""

    def __init__(self, ttl_s: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self.ttl_s, self.max_bytes, self.clock = ttl_s, max_bytes, clock
        self._jobs: dict[str, Job] = {}
        self._finished: deque[Job] = deque()  # oldest first
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}  # (owner, idempotency key) -> (request hash, job id)

    def add(self, job: Job, key: str | None = None, request_hash: str = "") -> bool:
        """Keep a new job, if there is room. Returns False when there is none."""
        if not self._make_room(job.num_bytes):
            return False
        self._jobs[job.id] = job
        if key is not None:
            self._keys[job.owner, key] = (request_hash, job.id)
        return True

    def get(self, owner: str, job_id: str) -> Job | None:
        """The job, if there is one and it is this owner's."""
        self.sweep()
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def known(self, owner: str, key: str) -> tuple[str, Job] | None:
        """(request hash, job) of an earlier request with this idempotency key."""
        self.sweep()
        request_hash, job_id = self._keys.get((owner, key), ("", ""))
        job = self._jobs.get(job_id)
        return None if job is None else (request_hash, job)

    def finished(self, job: Job) -> None:
        """Start the job's time to live. Its own drawing is kept even where it fills the store: older ones go."""
        self._make_room(0)
        self._finished.append(job)

    def forget(self, job: Job) -> None:
        """Drop a finished job and its images now."""
        self._finished.remove(job)
        del self._jobs[job.id]
        self._keys = {key: value for key, value in self._keys.items() if value[1] != job.id}

    def sweep(self) -> None:
        """Forget what has expired."""
        while self._finished and self.expires_at(self._finished[0]) <= self.clock():
            self.forget(self._finished[0])

    def expires_at(self, job: Job) -> float:
        return (job.finished_at or job.created_at) + self.ttl_s

    def unfinished(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if not job.is_finished)

    def count(self, status: str) -> int:
        return sum(job.status == status for job in self._jobs.values())

    def position(self, job: Job) -> int:
        """How many queued jobs are in front of this one."""
        earlier = takewhile(lambda other: other is not job, self._jobs.values())
        return sum(other.status == QUEUED for other in earlier)

    @property
    def num_bytes(self) -> int:
        return sum(job.num_bytes for job in self._jobs.values())

    def _make_room(self, num_bytes: int) -> bool:
        self.sweep()
        while self._is_full(num_bytes) and self._finished:
            self.forget(self._finished[0])
        return not self._is_full(num_bytes)

    def _is_full(self, num_bytes: int) -> bool:
        return self.num_bytes + num_bytes > self.max_bytes or len(self._jobs) > MAX_JOBS


def view(job: Job, store: JobStore) -> dict[str, Any]:
    """What a caller sees of a job (`schemas.JobView`); absent members are left out."""
    order, drawing = job.order, job.drawing
    path = f"/v1/jobs/{job.id}"
    shown: dict[str, Any] = {"id": job.id, "status": job.status, "created_at": _iso(job.created_at)}
    if job.started_at is not None:
        shown["started_at"] = _iso(job.started_at)
    if job.finished_at is not None:
        shown |= {"finished_at": _iso(job.finished_at), "expires_at": _iso(store.expires_at(job))}
    if job.status == QUEUED:
        shown["queue_position"] = store.position(job)
    if job.progress is not None:
        shown["progress"] = {"step": job.progress[0], "steps": job.progress[1]}
    shown |= {"width": order.width, "height": order.height, "box": list(order.box), "prompt": order.prompt, "seed": order.seed}
    if order.steps is not None:
        shown["steps"] = order.steps
    if drawing is not None:
        shown["model"] = {"name": drawing.model.name, "version": drawing.model.version}
        shown["warnings"] = list(drawing.warnings)
        shown["timings"] = _timings(job, drawing)
    if job.problem is not None:
        shown["problem"] = job.problem.body(path)
    shown["num_events"] = len(job.events)
    shown["links"] = {"self": path, "events": f"{path}/events", "result": f"{path}/result"}
    return shown


def _timings(job: Job, drawing: Drawing) -> dict[str, float]:
    assert job.started_at is not None and job.finished_at is not None
    waited, total = job.started_at - job.created_at, job.finished_at - job.created_at
    return {"queued_s": round(waited, 4), "generation_s": round(drawing.generation_s, 4), "total_s": round(total, 4)}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
