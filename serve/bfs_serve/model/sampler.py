"""The sampler deployment: one replica is one worker with its models. Nobody calls it; it takes work from the store."""

import asyncio
import contextlib
import importlib
import os
import secrets
import socket
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, NonNegativeFloat

from bfs_model.errors import BadInput
from bfs_serve.job.engine import Engine
from bfs_serve.job.orders import DRAWN_KINDS
from bfs_serve.model.models import Models
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Wanted

WORKERS = "worker:"


class SamplerConfig(BaseModel):
    """What may change while replicas run, of the ingress as well: which models are served, how often to look what their names mean
    (0: never), and the limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[str]
    follow_s: NonNegativeFloat = 30.0
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """What a replica is started with. `engine`: a class with the `Engine` protocol, as module:Class."""

    store: str
    blobs: str
    engine: str = "bfs_serve.model.engine:PipelineEngine"
    limits: Limits = field(default_factory=Limits)
    lease_s: float = 30.0
    batch: int = 1
    stall_s: float = 300.0
    grace_s: float = 60.0
    alive_s: float = 5.0
    """How often a worker says that it is there; three times as long without, and it is not."""


class Sampler:
    """A worker whose life is that of a replica."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._settings = settings
        self._store, self._blobs = JobStore(settings.store, settings.limits), Blobs(settings.blobs)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._engine_cls = load_engine(settings.engine)
        self._worker: Worker | None = None
        self._models: Models | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._following: asyncio.Task[None] | None = None
        self._draining = False

    async def reconfigure(self, user_config: dict[str, object]) -> None:
        """Serve the configured models. The first ones are loaded before this returns; later ones in the background."""
        config = SamplerConfig.model_validate(user_config)
        if config.limits is not None:
            self._store.limit(config.limits)
        models = Models(config.models, self._engine_cls, self._store, self._blobs, self._name, config.follow_s)
        if self._models is not None:
            models.take_over(self._models)
        self._models = models
        if self._following is not None:
            self._following.cancel()
        if self._worker is None:
            await models.start()
            s = self._settings
            settings = WorkerSettings(Wanted(DRAWN_KINDS, models.names), s.lease_s, s.batch, s.stall_s)
            self._worker = Worker(self._name, self._store, self._blobs, settings, self._engine)
            self._tasks = [asyncio.create_task(self._worker.run()), asyncio.create_task(self._stay_known())]
            await self._show_itself()  # whoever waited for this replica finds the service ready
        else:  # what was ordered of a model that is served no more is still drawn
            known = self._worker.wanted.models or ()
            self._worker.wanted = Wanted(DRAWN_KINDS, tuple(dict.fromkeys((*known, *models.names))))
        self._following = asyncio.create_task(models.run())

    async def _engine(self, name: str, version: str) -> Engine:
        assert self._models is not None
        return await self._models.engine(name, version)

    async def _stay_known(self) -> None:
        """Let others see that this worker is there, for as long as it gets on."""
        while True:
            await asyncio.sleep(self._settings.alive_s)
            await self._show_itself()

    async def _show_itself(self) -> None:
        if self._worker is None or self._worker.is_stalled:
            return
        with contextlib.suppress(Exception):
            if self._models is not None and (counted := self._models.tally.drain()):
                await self._store.count(counted)
            await self._store.hold(WORKERS + self._name, self._name, 3 * self._settings.alive_s)

    def check_health(self) -> None:
        """Called by Serve. Raises when the model makes no step any more, or the worker has ended, so that the replica is replaced."""
        if self._worker is not None and self._worker.is_stalled:
            raise RuntimeError(f"no step for {self._settings.stall_s:g} s")
        if not self._draining and any(task.done() for task in self._tasks):
            raise RuntimeError("the worker has ended")

    async def drain(self) -> int:
        """Take nothing more on. Returns how many jobs are still being done; whoever waits for them asks again."""
        self._draining = True
        if self._worker is None:
            return 0
        self._worker.drain()
        return self._worker.num_held

    async def close(self) -> None:
        """What is being drawn is finished, unless `drain` was waited for already; what is not goes back to the queue."""
        if self._following is not None:
            self._following.cancel()
        if self._worker is not None:
            await self._worker.stop(0.0 if self._draining else self._settings.grace_s)
            await asyncio.wait(self._tasks[:1], timeout=5.0)
            for task in self._tasks:
                task.cancel()
            with contextlib.suppress(Exception):
                await self._store.release(self._name)
                if self._models is not None:
                    await self._models.close()
                await self._store.let_go(WORKERS + self._name, self._name)
        self._store.close()


def load_engine(path: str) -> type[Engine]:
    """Import an engine class given as `module:Class`. Raises `BadInput` when there is none."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput("engine", path, f"cannot be imported ({error})", "name a class as module:Class") from None
