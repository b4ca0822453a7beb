"""The loop of a worker: claim, prepare, draw, deliver. Claiming and decoding the next job and encoding the last one happen
while the model draws. What a worker holds is held by lease: when it is lost, others go on."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pydantic import ValidationError
from structlog.stdlib import BoundLogger

from bfs_model.errors import BadInput
from bfs_serve import problems
from bfs_serve.job import orders
from bfs_serve.job.engine import Canceled, Engine, OnStep, Preview
from bfs_serve.job.kinds import task_of
from bfs_serve.job.orders import Order
from bfs_serve.job.results import Result
from bfs_serve.job.tasks import LayerTask, Task
from bfs_serve.model.lease import Lease
from bfs_serve.model.stages import ENCODE, LOAD, Stages
from bfs_serve.model.turns import turn
from bfs_serve.problems import Problem
from bfs_serve.store.blobs import BlobLost, Blobs, BlobsAway
from bfs_serve.store.database import is_full
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Claim, Outcome, Wanted
from bfs_serve.telemetry import amounts
from bfs_serve.telemetry.amounts import Amounts
from bfs_serve.telemetry.logs import log

EngineOf = Callable[[str, str], Awaitable[Engine]]
_PATIENCE_S = 0.5  # a worker that waits hears so late, at most, that it is to stop
_PAUSE_S = 1.0
_LOADS_AS_STEPS = 10  # a model may take so many times as long to load as one of its steps


class NotLoaded(RuntimeError):
    """The model of a job is not to be had on this worker, for now."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`wanted`: what it takes. `batch`: how many jobs of equal settings it draws at once. `stall_s`: a step may take so long."""

    wanted: Wanted
    lease_s: float = 30.0
    batch: int = 1
    stall_s: float = 300.0


@dataclass(eq=False)
class Held:
    """A claimed job on its way: its order, its task, its lease, or why it cannot be done."""

    claim: Claim
    order: Order
    task: Task
    lease: Lease
    engine: Engine | None = None
    outcome: Outcome | None = None
    stages: Stages = field(default_factory=Stages)
    counted: Amounts = field(default_factory=dict)

    @property
    def log(self) -> BoundLogger:
        """Lines about this attempt."""
        return log.bind(job=self.claim.id, attempt=self.claim.attempt, request_id=self.claim.request_id)

    def amounts(self) -> Amounts:
        """What is counted when it ends."""
        return amounts.merged([self.stages.amounts(self.claim.version), self.counted])


class Worker:
    """`engine_of(name, version)` gives the engine of a version, loaded if need be; None for jobs that need no model."""

    def __init__(self, name: str, store: JobStore, blobs: Blobs, settings: WorkerSettings, engine_of: EngineOf | None = None) -> None:
        self.name, self.wanted = name, settings.wanted
        self._store, self._blobs, self._settings, self._engine_of = store, blobs, settings, engine_of
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="denoise")
        self._stopping = asyncio.Event()
        self._delivering: set[asyncio.Task[None]] = set()
        self._num_held = 0  # claimed, and neither ended nor given back
        self._claiming = False  # what the store gives away is on its way here
        self.drawing_since: float | None = None
        self.loading_since: float | None = None

    async def run(self) -> None:
        """Work until `stop`; trouble with the store is waited out."""
        following: list[Held] = []
        while not self._stopping.is_set():
            try:
                held = following or await self._take(_PATIENCE_S)
                following = []
                if held:
                    following = await self._draw_and_take(held)
            except Exception:
                log.exception("worker pauses", worker=self.name)
                await asyncio.sleep(_PAUSE_S)
        for one in following:
            await one.lease.end()
            self._num_held -= 1
        if self._delivering:
            await asyncio.wait(self._delivering)
        with contextlib.suppress(Exception):
            await self._store.release(self.name)

    def drain(self) -> None:
        """Take nothing more on."""
        self._stopping.set()

    async def stop(self, grace_s: float) -> None:
        """Take nothing more on, and give what runs up to `grace_s` to end."""
        self.drain()
        deadline = time.monotonic() + grace_s
        while self.num_held and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    async def leave(self, grace_s: float = 5.0) -> None:
        """Stop, and give back what did not end in time: others take it at once, and it costs no attempt."""
        await self.stop(grace_s)
        await self._store.release(self.name)

    @property
    def num_held(self) -> int:
        """How many jobs are done here; one, as long as that is not known."""
        return max(self._num_held, self._claiming)

    @property
    def is_stalled(self) -> bool:
        """Whether the model has made no step, or is being loaded, for longer than that may take."""
        now, s = time.monotonic(), self._settings
        is_hung = self.drawing_since is not None and now - self.drawing_since > s.stall_s
        return is_hung or (self.loading_since is not None and now - self.loading_since > _LOADS_AS_STEPS * s.stall_s)

    async def _take(self, patience_s: float) -> list[Held]:
        """Claim jobs that can be drawn together, and prepare them."""
        s = self._settings
        self._claiming = True
        try:
            claims = await self._store.next(self.name, self.wanted, s.batch, s.lease_s, patience_s)
            self._num_held += len(claims)
        finally:
            self._claiming = False
        held = []
        for claim in claims:
            try:
                order = orders.parse(claim.kind, claim.order)
            except ValidationError as error:  # another version of the service wrote it
                await self._give_up(claim, error)
                continue
            lease = Lease(self._store, claim, s.lease_s, lambda: self.is_stalled)
            held.append(Held(claim, order, task_of(order), lease))
        await asyncio.gather(*(self._prepare(one) for one in held))
        return held

    async def _give_up(self, claim: Claim, error: Exception) -> None:
        """End an attempt that could not begin."""
        self._num_held -= 1
        log.error("order cannot be read", job=claim.id, attempt=claim.attempt, error=str(error)[:500])
        with contextlib.suppress(Exception):  # the store is away: its lease runs out
            await self._store.finish(claim.id, claim.attempt, failure(error))

    async def _prepare(self, held: Held) -> None:
        held.log.info("claimed", worker=self.name, kind=held.claim.kind, waited_s=round(held.claim.waited_s, 4))
        try:
            with held.stages.measured(LOAD):
                await asyncio.to_thread(held.task.prepare, self._blobs)
                if self._engine_of is not None:
                    held.engine = await self._loaded(held, self._engine_of)
        except Exception as error:
            held.outcome = failure(error)

    async def _loaded(self, held: Held, engine_of: EngineOf) -> Engine:
        """The engine of the version that a job is pinned to. Raises `NotLoaded`: whatever the reason, it is none of the caller's."""
        self.loading_since = time.monotonic()
        try:
            return await engine_of(held.claim.model, held.claim.version)
        except Exception as error:
            held.log.exception("model cannot be loaded", model=held.claim.model, version=held.claim.version[:12])
            raise NotLoaded from error
        finally:
            self.loading_since = None

    async def _draw_and_take(self, held: list[Held]) -> list[Held]:
        """Draw; when the last step begins, take the next jobs; when all is drawn, let it be delivered. Returns the next jobs.

        What is drawn does not wait for them: a new version may have to be loaded.
        """
        nearly = asyncio.Event()
        drawing = asyncio.ensure_future(self._draw([one for one in held if one.outcome is None], nearly))
        last_step = asyncio.ensure_future(nearly.wait())
        taking: asyncio.Future[list[Held]] | None = None
        try:
            await asyncio.wait({drawing, last_step}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set():
                taking = asyncio.ensure_future(self._take_beside())
            await drawing
        finally:
            last_step.cancel()
        for one in held:
            task = asyncio.create_task(self._deliver(one))
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)
        return [] if taking is None else await taking

    async def _take_beside(self) -> list[Held]:
        """As `_take`, of what is there; trouble with it is no trouble of what is being drawn."""
        try:
            return await self._take(0)
        except Exception:
            log.warning("nothing more is taken for now", worker=self.name, exc_info=True)
            return []

    async def _draw(self, held: list[Held], nearly: asyncio.Event) -> None:
        if not held:
            return
        loop = asyncio.get_running_loop()

        def on_step(done: int, total: int, preview: Preview | None) -> None:
            self.drawing_since = time.monotonic()
            for one in held:
                one.stages.stepped(done)
                one.lease.tell(done, total, preview if len(held) == 1 else None)
            if done >= total - 1:
                loop.call_soon_threadsafe(nearly.set)

        def canceled() -> bool:
            return all(one.lease.lost for one in held)

        self.drawing_since = time.monotonic()
        try:
            with contextlib.ExitStack() as stack:
                for one in held:
                    stack.enter_context(one.stages.drawn())
                await loop.run_in_executor(self._model_thread, _carry_out, held, on_step, canceled)
            if held[0].engine is not None:
                held[0].counted = held[0].engine.counted()
        except Exception as error:
            if isinstance(error, BadInput) and len(held) > 1:  # one of them is at fault: each for itself
                for one in held:
                    await self._draw([one], nearly)
                return
            if not isinstance(error, Canceled | BadInput):
                for one in held:
                    one.log.exception("could not be drawn")
            for one in held:
                if not (isinstance(error, Canceled) and one.lease.lost):  # that is not wanted any more, or goes to another worker
                    one.outcome = failure(error)
        finally:
            self.drawing_since = None

    async def _deliver(self, held: Held) -> None:
        """Store what was drawn and end the job; nothing where it is not wanted any more."""
        try:
            if held.outcome is None:
                if held.lease.lost:
                    held.log.info("not wanted any more")
                    return
                held.outcome = await self._success(held)
            await held.lease.end()
            held.outcome = replace(held.outcome, amounts=held.amounts())
            while not await _finished(self._store, held):
                await asyncio.sleep(_PAUSE_S)
            held.log.info("ended", succeeded=held.outcome.succeeded, problem=None if held.outcome.succeeded else held.outcome.body["slug"])
            held.stages.trace(held.claim.trace, {"job.id": held.claim.id, "job.attempt": held.claim.attempt})
        except Exception:
            held.log.exception("left to its lease")
        finally:
            await held.lease.end()
            self._num_held -= 1

    async def _success(self, held: Held) -> Outcome:
        try:
            with held.stages.measured(ENCODE):
                result, num_bytes = await asyncio.to_thread(self._stored, held)
        except Exception as error:
            held.log.exception("could not be stored")
            return failure(error)
        drawn_s = None if result.model is None else result.seconds
        return Outcome(True, result.model_dump(mode="json"), result.blobs, num_bytes, seconds=drawn_s)

    def _stored(self, held: Held) -> tuple[Result, int]:
        """The result, and what it and the uploads weigh in bytes."""
        result = held.task.deliver(self._blobs)
        return result, sum(self._blobs.size(blob) for blob in {*result.blobs, *held.order.blobs})


def _carry_out(held: list[Held], on_step: OnStep, canceled: Callable[[], bool]) -> None:
    """On the model's thread."""
    engine = held[0].engine
    with turn(engine) if engine is not None else contextlib.nullcontext():
        _drawn(held, on_step, canceled)


def _drawn(held: list[Held], on_step: OnStep, canceled: Callable[[], bool]) -> None:
    if len(held) == 1:
        held[0].task.draw(held[0].engine, on_step, canceled)  # type: ignore[arg-type]
        return
    tasks = [one.task for one in held]
    assert all(isinstance(task, LayerTask) for task in tasks), "only layers are drawn in batches"
    engine, begin = held[0].engine, time.perf_counter()
    assert engine is not None
    requests = [task.requests[0] for task in tasks if isinstance(task, LayerTask)]
    drawn = engine.draw(requests, tasks[0].settings, on_step, canceled)  # type: ignore[attr-defined]
    for task, generation in zip(tasks, drawn, strict=True):
        assert isinstance(task, LayerTask)
        task.drawn([generation], engine, time.perf_counter() - begin)


async def _finished(store: JobStore, held: Held) -> bool:
    """Whether the end of a job is in the store, or no longer wanted there. False: the store is away, but the lease may hold."""
    assert held.outcome is not None
    try:
        await store.finish(held.claim.id, held.claim.attempt, held.outcome)
    except Exception:
        if time.monotonic() > held.lease.good_until:
            raise
        held.log.warning("cannot be finished for now", exc_info=True)
        return False
    return True


def failure(error: Exception) -> Outcome:
    """How an attempt that raised ends."""
    if isinstance(error, BadInput):
        problem, retryable = problems.of_bad_input(error), False
    elif isinstance(error, BlobLost):
        problem, retryable = Problem("interrupted", "A picture of the job was lost; send it again.", retry_after_s=1), True
    elif isinstance(error, BlobsAway):
        problem, retryable = Problem("interrupted", "The store of pictures was away; try again.", retry_after_s=5), True
    elif isinstance(error, NotLoaded):
        problem, retryable = Problem("interrupted", "The model could not be loaded; try again.", retry_after_s=5), True
    elif is_full(error):
        problem, retryable = problems.disk_full(), True
    else:
        problem, retryable = Problem("internal", "The layer could not be drawn; the service's log names the cause."), True
    return Outcome(False, problem.stored(), retryable=retryable)
