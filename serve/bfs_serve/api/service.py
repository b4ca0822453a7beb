"""What the endpoints share: the store, the blobs, the published models, and how a checked order becomes a job."""

import asyncio
import contextlib
import hashlib
import json
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from bfs_serve.api.files import Files
from bfs_serve.api.metrics import ServiceMetrics
from bfs_serve.api.pictures import Pictures
from bfs_serve.edge.admission import FOR_ALL, FOR_CALLER, HEADER
from bfs_serve.edge.body import BufferBudget
from bfs_serve.job.engine import ModelInfo
from bfs_serve.job.orders import Drawn, LayerOrder, Order
from bfs_serve.model.canary import chosen
from bfs_serve.model.models import info_of
from bfs_serve.model.sampler import WORKERS
from bfs_serve.model.scaling import WANTED
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Job, NewJob, Refusal
from bfs_serve.telemetry import amounts, traces
from bfs_serve.telemetry.amounts import Tally
from bfs_serve.telemetry.logs import log

MAX_UPLOADS_BYTES = 2**30  # of this process, on their way into the store
_LISTED_S = 1.0
_READY_S = 0.25
_REMEDIES = {"reference": ": a bundle that carries a reference encoder"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: the id of the request, and what its trace names as the parent of what follows."""

    request_id: str = ""
    trace: str = ""


class Service:
    """`models`: names that are served, the first the default. `scale_to_zero`: that no worker is there is no reason to refuse.

    All that is given belongs to the service from now on, and is closed with it.
    """

    def __init__(self, store: JobStore, blobs: Blobs, pictures: Pictures, models: list[str], scale_to_zero: bool = False) -> None:
        self.store, self.blobs, self.pictures, self.names = store, blobs, pictures, models
        self.tally = Tally()
        self.files = Files(blobs)
        self.uploads = BufferBudget(MAX_UPLOADS_BYTES)
        self.metrics = ServiceMetrics()
        self._scale_to_zero = scale_to_zero
        self._published: dict[str, tuple[str, dict[str, Any]]] = {}
        self._listed_at = -math.inf
        self._looking, self._looked_at = asyncio.Lock(), -math.inf
        self._unready: Problem | None = None
        self.closing = False

    # Models

    async def published(self, fresh: bool = False) -> dict[str, tuple[str, dict[str, Any]]]:
        """What is published of each served name, seconds old at most."""
        if fresh or time.monotonic() - self._listed_at > _LISTED_S:
            everything = await self.store.published()
            self._published = {name: everything[name] for name in self.names if name in everything}
            self._listed_at = time.monotonic()
        return self._published

    async def model(self, name: str | None, needs: tuple[str, ...]) -> ModelInfo:
        """The model that is asked for, at the version that its name means now. Raises `ProblemError`."""
        wanted = name or self.names[0]
        if wanted not in self.names:
            detail = f"There is no such model here; use one of {', '.join(self.names)}."
            raise ProblemError(Problem("invalid", detail, errors=({"pointer": "/model", "key": "model", "detail": detail},)))
        info = info_of((await self.published()).get(wanted, ("", {})))
        if info is None:
            raise ProblemError(Problem("not-ready", "The model is not loaded yet.", retry_after_s=2))
        info = replace(info, name=wanted)
        missing = [need for need in needs if need not in info.capabilities]
        if missing:
            raise ProblemError(unsupported(missing, info))
        return info

    # Jobs

    async def job_of(
        self,
        owner: str,
        order: Order,
        model: ModelInfo | None,
        key: str | None,
        seeds: Sequence[int | None],
        origin: Origin,
        num_bytes: int,
    ) -> NewJob:
        """An order whose pictures weigh `num_bytes` together as a job. `seeds`: see `digest`."""
        job_id = secrets.token_hex(16)
        if model is not None:  # a candidate draws some of what its champion is asked for
            model = chosen(model, (await self.published())[model.name][1], f"{owner} {key}" if key else job_id, order.needs)
        name, version = (model.name, model.version) if model else ("", "")
        body = order.model_dump(mode="json")
        return NewJob(
            owner=owner,
            kind=order.kind,
            order=body,
            model=name,
            version=version,
            batch=_batch(order, name, version),
            blobs=order.blobs,
            num_bytes=num_bytes + order.reserve_bytes,
            reserved=order.reserve_bytes,
            key=key,
            digest=digest(order, name, seeds),
            request_id=origin.request_id,
            trace=origin.trace,
            id=job_id,
        )

    async def admit(self, new: NewJob) -> None:
        """Before anything of a job is stored: raises the `ProblemError` that `submit` would raise now."""
        if self.closing:
            raise ProblemError(Problem("not-ready", "The service is shutting down.", retry_after_s=5))
        await self._let_in(await self.store.refusal(new))

    async def submit(self, new: NewJob) -> Accepted:
        """Take a job on, whose pictures are stored. Raises `ProblemError`."""
        outcome = await self.store.submit(new)
        if isinstance(outcome, Refusal):
            await self._let_in(outcome)
        assert isinstance(outcome, Accepted)
        job = outcome.job
        log.info("accepted", job=job.id, kind=job.kind, caller=new.owner, replayed=outcome.replayed, request_id=new.request_id)
        return outcome

    async def check_room(self, owner: str) -> None:
        """Before anything is done for a request: raises `ProblemError` where its job would be refused anyway."""
        await self._let_in(await self.store.full(owner))

    async def _let_in(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self.tally.count(amounts.REFUSED, refusal.reason)
            raise ProblemError(await self._problem(refusal))

    async def job(self, owner: str, job_id: str) -> Job:
        """A job of this owner. Raises `ProblemError`."""
        found = await self.store.get(owner, job_id)
        if found is None:
            raise ProblemError(no_such_job())
        return found

    async def ready(self) -> Problem | None:
        """None when a layer would be drawn now, else why not. Anybody may ask, as often as they like: the store is asked now and then."""
        if self.closing:
            return Problem("not-ready", "The service is shutting down.", retry_after_s=5)
        async with self._looking:
            if time.monotonic() - self._looked_at > _READY_S:
                self._unready = await self._why_not()
                self._looked_at = time.monotonic()
        return self._unready

    async def _why_not(self) -> Problem | None:
        published = await self.published(fresh=True)
        if not all(published.get(name, ("", {}))[0] for name in self.names):
            return Problem("not-ready", "No model is loaded yet.", retry_after_s=2)
        if not self._scale_to_zero and not await self.store.holders(WORKERS):
            return Problem("not-ready", "No worker is at work.", retry_after_s=2)
        return None

    async def scrape(self) -> bytes:
        """Prometheus text: the state that all replicas share, so it is the same whichever one is asked."""
        with contextlib.suppress(SQLAlchemyError):  # a full disk: it is counted later, and what is known is shown
            await self.flush()
        self.metrics.totals = await self.store.totals()
        depth = await self.store.depth()
        self.metrics.queued.set(depth.queued)
        self.metrics.running.set(depth.running)
        self.metrics.stored.set(depth.num_bytes)
        self.metrics.oldest.set(depth.oldest_s)
        self.metrics.workers.set(await self.store.holders(WORKERS))
        self.metrics.show_models(await self.published(fresh=True))
        return self.metrics.text()

    async def call_for_samplers(self, holder: str, lease_s: float) -> None:
        """Where a served name has no version, which a sampler alone can load, have it known for so long that one is wanted."""
        published = await self.published()
        if not all(published.get(name, ("", {}))[0] for name in self.names):
            await self.store.hold(WANTED + holder, holder, lease_s)

    async def flush(self) -> None:
        """Add what was counted here to the totals: now and then, since a storm of requests must not become one of writes."""
        for lookup, number in self.files.take_lookups().items():
            self.tally.add({(amounts.LOOKUPS, f"files {lookup}"): number})
        if counted := self.tally.drain():
            try:
                await self.store.count(counted)
            except BaseException:
                self.tally.add(counted)
                raise

    def close(self) -> None:
        """Let go of the store and of child processes."""
        self.pictures.close()
        self.store.close()
        traces.flush()

    async def _problem(self, refusal: Refusal) -> Problem:
        if refusal.reason == Refusal.KEY_REUSED:
            return Problem("idempotency-key-reused", refusal.detail)
        if refusal.reason == Refusal.KEY_SPENT:
            return Problem("expired", refusal.detail)
        if refusal.reason == Refusal.QUEUE_FULL:
            return Problem("busy", f"The queue is full: {refusal.detail}; try again.", retry_after_s=2, headers={HEADER: FOR_ALL})
        if refusal.reason == Refusal.NEVER_FITS:
            return Problem("too-large", f"The job is too large: {refusal.detail}; ask for fewer candidates or layers, or smaller pictures.")
        if refusal.reason == Refusal.STORE_FULL:  # a smaller job may still fit
            return Problem("full", f"The store is full: {refusal.detail}; try again.", retry_after_s=5)
        detail = f"There is no room for this job: {refusal.detail}; fetch results and delete them, or wait."
        if refusal.reason == Refusal.OWNER_QUEUE_FULL:
            return Problem("too-many-requests", detail, retry_after_s=5, headers={HEADER: FOR_CALLER})
        return Problem("quota", detail, retry_after_s=5)


def digest(order: Order, model: str, seeds: Sequence[int | None]) -> str:
    """sha256 of all that the caller chose. `seeds`: of the order, or of each layer of a document; None where the service drew it."""
    chosen = order.model_dump(mode="json") | {"kind": order.kind, "model": model}
    seeded = [chosen] if isinstance(order, Drawn) else chosen.get("layers", [])
    for part, seed in zip(seeded, seeds, strict=True):
        part["seed"] = seed
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def unsupported(missing: list[str], model: ModelInfo) -> Problem:
    """The model lacks a capability that the request needs."""
    errors = tuple({"pointer": f"/{need}", "detail": f"{need} is not something this model can do", "key": need} for need in missing)
    remedies = "".join(_REMEDIES[need] for need in missing if need in _REMEDIES)
    detail = f"{model.label} cannot do {', '.join(missing)}; leave it out or ask a model that can{remedies}."
    return Problem("unsupported-by-model", detail, errors)


def no_such_job() -> Problem:
    return Problem("not-found", "There is no such job; finished jobs are forgotten when they expire.")


def _batch(order: Order, model: str, version: str) -> str:
    """What two orders must share to be drawn as one batch; empty where an order never is."""
    if not isinstance(order, LayerOrder) or order.settings is None:
        return ""
    return hashlib.sha256(repr((model, version, *order.settings)).encode()).hexdigest()[:32]
