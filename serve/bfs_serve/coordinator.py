"""Runs jobs: takes orders on, hands them to the sampler, remembers what happened, tells whoever asks.

One coordinator per service, so that any number of ingress replicas agree. It judges and returns values; HTTP is elsewhere.
"""

import asyncio
import dataclasses
import hashlib
import logging
import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from bfs_serve.jobs import QUEUED, RUNNING, SUCCEEDED, Job, JobStore, view
from bfs_serve.metrics import ServiceMetrics
from bfs_serve.orders import Drawing, Event, ModelInfo, Order, Sampled, unsupported
from bfs_serve.outlive import outliving
from bfs_serve.problems import Problem

logger = logging.getLogger("bfs_serve")

PROBE_S = 2.0
_ATTEMPTS = 2  # the sampler is a pure function of the order, so an order whose worker died is drawn once more


class SamplerLost(Exception):
    """The worker that drew went away."""


class SamplerBusy(Exception):
    """No worker takes another order now."""


class Sampling(Protocol):
    """The sampler as the coordinator sees it."""

    def sample(self, order: Order) -> AsyncGenerator[Sampled, None]: ...

    async def info(self) -> ModelInfo: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one service."""

    max_queued: int = 16
    ttl_s: float = 3600.0
    max_stored_bytes: int = 512 * 2**20


class Coordinator:
    """Owns the jobs. All methods run on one event loop."""

    def __init__(self, sampler: Sampling, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self._sampler, self._limits, self._clock = sampler, limits, clock
        self._store = JobStore(limits.ttl_s, limits.max_stored_bytes, clock)
        self._metrics = ServiceMetrics()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._model: ModelInfo | None = None
        self._mean_s = 2.0
        self._closed = False

    # Orders

    async def submit(self, owner: str, order: Order, key: str | None = None, explicit_seed: bool = True) -> dict[str, Any] | Problem:
        """Take an order on and start it. Returns the job's view, or why it is refused.

        `key`: the caller's idempotency key; the same key with the same request gives the same job.
        `explicit_seed`: the caller chose the seed, so it belongs to the identity of the request.
        """
        digest = request_hash(order, explicit_seed)
        if key is not None and (known := self._store.known(owner, key)):
            if known[0] != digest:
                return Problem("idempotency-key-reused", "Idempotency-Key was used for a different request; choose a new one.")
            return view(known[1], self._store)
        job = Job(secrets.token_hex(16), owner, order, self._clock())
        if self._lacks(order):  # the model may have been replaced since it was last seen
            await self.ready()
        refusal = self._judge(order) or (None if self._store.add(job, key, digest) else self._busy("no memory is free for another job"))
        if refusal is not None:
            self._metrics.refused.labels(refusal.slug).inc()
            return refusal
        self._metrics.accepted.inc()
        job.publish("queued", {"position": self._store.position(job)})
        self._tasks[job.id] = outliving(self._run(job))  # the job is not canceled with the request that brought it
        return view(job, self._store)

    def _judge(self, order: Order) -> Problem | None:
        if self._closed:
            return Problem("not-ready", "The service is shutting down.", retry_after_s=5)
        if missing := self._lacks(order):
            return unsupported(missing, self._model)
        if self._store.count(QUEUED) >= self._limits.max_queued:
            return self._busy(f"{self._limits.max_queued} jobs are waiting already")
        return None

    def _lacks(self, order: Order) -> list[str]:
        """What the order needs and the model, as it was last seen, cannot do."""
        return [need for need in order.needs if self._model is not None and need not in self._model.capabilities]

    def _busy(self, why: str) -> Problem:
        wait_s = min(60, max(1, math.ceil(self._mean_s)))
        return Problem("busy", f"The queue is full: {why}; try again in {wait_s} s.", retry_after_s=wait_s)

    # Jobs

    async def look(self, owner: str, job_id: str) -> dict[str, Any] | None:
        """The job's view, or None when this owner has no such job."""
        job = self._store.get(owner, job_id)
        return None if job is None else view(job, self._store)

    async def wait(self, owner: str, job_id: str, timeout_s: float) -> dict[str, Any] | None:
        """As `look`, once the job is finished or the time is over."""
        job = self._store.get(owner, job_id)
        if job is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                while not job.is_finished:
                    await job.news()
        except TimeoutError:
            pass
        return view(job, self._store)

    async def events(self, owner: str, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """The job's events with an id above `after`, as they happen, to the final one."""
        job = self._store.get(owner, job_id)
        position = max(after, 0)
        while job is not None:
            if position >= len(job.events):
                if job.is_finished:
                    return
                await job.news()
                continue
            yield job.events[position]
            position += 1

    async def result(self, owner: str, job_id: str) -> tuple[dict[str, Any], Order, Drawing] | Problem:
        """View, order and drawing of a finished job, or why there is no drawing."""
        job = self._store.get(owner, job_id)
        if job is None:
            return no_such_job()
        if job.status == SUCCEEDED:
            assert job.drawing is not None
            return view(job, self._store), job.order, job.drawing
        if job.problem is not None:
            return job.problem
        if job.is_finished:
            return Problem("canceled", "The job was canceled, so there is no result.")
        return Problem("not-finished", f"The job is {job.status}.", retry_after_s=1)

    async def cancel(self, owner: str, job_id: str) -> dict[str, Any] | None:
        """Stop a job that is not finished (its view says `canceled`), or forget one that is (None)."""
        job = self._store.get(owner, job_id)
        if job is None:
            return None
        if job.is_finished:
            self._store.forget(job)
            return None
        self._end(job, None)
        self._tasks[job.id].cancel()
        return view(job, self._store)

    # The service

    async def models(self) -> list[ModelInfo]:
        """The models being served; empty while none is loaded."""
        await self.ready()
        return [self._model] if self._model else []

    async def ready(self) -> Problem | None:
        """None when an order would be drawn now, else why not."""
        self._store.sweep()
        if self._closed:
            return Problem("not-ready", "The service is shutting down.", retry_after_s=5)
        if self._store.count(RUNNING):
            return None  # a worker is at work; asking it would only queue behind the drawing
        try:
            async with asyncio.timeout(PROBE_S):
                self._saw(await self._sampler.info())
        except Exception as error:  # whatever keeps a worker from answering keeps it from drawing
            return Problem("not-ready", f"No model is loaded yet ({type(error).__name__}).", retry_after_s=2)
        return None

    async def metrics(self) -> bytes:
        """Prometheus text."""
        self._store.sweep()
        self._metrics.queued.set(self._store.count(QUEUED))
        self._metrics.running.set(self._store.count(RUNNING))
        self._metrics.stored.set(self._store.num_bytes)
        return self._metrics.text()

    async def close(self, grace_s: float) -> int:
        """Take nothing more on, wait for what runs, cancel the rest. Returns how many jobs were canceled."""
        self._closed = True
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        left = list(self._store.unfinished())
        for job in left:
            await self.cancel(job.owner, job.id)
        return len(left)

    # One job

    async def _run(self, job: Job) -> None:
        try:
            self._end(job, await self._attempts(job))
        except asyncio.CancelledError:
            if not job.is_finished:
                self._end(job, None)
            raise
        except Exception:
            logger.exception("job %s failed", job.id)
            self._end(job, Problem("internal", "The layer could not be drawn; the service's log names the cause."))
        finally:
            self._tasks.pop(job.id, None)

    async def _attempts(self, job: Job) -> Drawing | Problem:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._draw(job)
            except SamplerBusy:
                return self._busy("no worker takes another order")
            except SamplerLost as error:
                logger.warning("job %s lost its worker in attempt %d: %s", job.id, attempt, error)
                if attempt < _ATTEMPTS:
                    self._metrics.retried.inc()
                    job.requeue()
        return Problem("interrupted", "The worker that drew the layer was lost, twice; try again.", retry_after_s=5)

    async def _draw(self, job: Job) -> Drawing | Problem:
        async with aclosing(self._sampler.sample(job.order)) as sampled:
            async for item in sampled:
                if isinstance(item, Drawing | Problem):
                    return item
                if isinstance(item, tuple):
                    job.advance(*item)
                else:
                    job.start(self._clock())
                    self._metrics.waited.observe(self._clock() - job.created_at)
        raise SamplerLost("the stream ended early")

    def _end(self, job: Job, outcome: Drawing | Problem | None) -> None:
        if isinstance(outcome, Drawing):
            self._saw(outcome.model)
            self._mean_s += 0.2 * (outcome.generation_s - self._mean_s)
            self._metrics.drawn.observe(outcome.generation_s)
        job.finish(self._clock(), outcome)
        self._store.finished(job)
        self._metrics.finished.labels(job.status).inc()
        asyncio.get_running_loop().call_later(self._limits.ttl_s + 1, self._store.sweep)

    def _saw(self, model: ModelInfo) -> None:
        if model != self._model:
            self._model = model
            self._metrics.model.clear()
            self._metrics.model.labels(model.name, model.version).set(1)


def no_such_job() -> Problem:
    return Problem("not-found", "There is no such job; finished jobs are forgotten when they expire.")


def request_hash(order: Order, explicit_seed: bool) -> str:
    """sha256 of all that the caller chose."""
    digest = hashlib.sha256()
    chosen = order if explicit_seed else dataclasses.replace(order, seed=-1)
    for item in dataclasses.fields(chosen):
        value = getattr(chosen, item.name)
        digest.update(f"{item.name}:".encode())
        digest.update(hashlib.sha256(value if isinstance(value, bytes) else repr(value).encode()).digest())
    return digest.hexdigest()
