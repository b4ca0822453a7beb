"""The two Serve deployments: ingress (HTTP, and exports, which need no model), sampler (models). They meet in the store."""

import asyncio
import os
import secrets
import socket
from typing import Any

from ray import serve

from bfs_serve.api.housekeeping import Housekeeping
from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.job.orders import ExportOrder
from bfs_serve.model.sampler import Sampler, SamplerConfig, SamplerSettings
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Wanted
from bfs_serve.telemetry import logs, traces

_REPORT_S = 5.0


class SamplerReplica(Sampler):
    """A sampler as Serve runs it."""

    def __init__(self, settings: SamplerSettings) -> None:
        logs.configure()
        super().__init__(settings)

    async def __del__(self) -> None:
        """Called and awaited by Serve before the replica is stopped."""
        await self.close()
        traces.flush()


@serve.ingress()
class Ingress:
    """Any number of replicas: validation, negotiation, files. Holds nothing that another one could not answer as well."""

    def __init__(
        self, store: str, blobs: str, limits: Limits, models: list[str], require_guard: bool, scale_to_zero: bool, sampler: Any = None
    ) -> None:
        """`sampler` makes Serve deploy it with the application; it is never called."""
        logs.configure()
        self._store, self._blobs = JobStore(store, limits), Blobs(blobs)
        self._service = Service(self._store, self._blobs, Pictures(), models, scale_to_zero)
        self._require_guard = require_guard
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._composer = Worker(self._name, self._store, self._blobs, WorkerSettings(Wanted((ExportOrder.kind,))))  # carries out exports

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve: which models may be asked for, and the limits, while replicas run."""
        config = SamplerConfig.model_validate(user_config)
        self._service.names = config.models
        if config.limits is not None:
            self._store.limit(config.limits)

    def __serve_build_asgi_app__(self) -> Any:
        background = (Housekeeping(self._store, self._blobs).run, self._composer.run, self._report)
        return create_app(self._service, require_guard=self._require_guard, background=background, ending=(self._composer.leave,))

    async def _report(self) -> None:
        """Add what was counted here to what all replicas show, and tell what autoscaling cannot know: which names are served."""
        while True:
            await asyncio.sleep(_REPORT_S)
            await self._service.flush()
            await self._service.call_for_samplers(self._name, 3 * _REPORT_S)

    async def drain(self) -> int:
        """Take nothing more on. Returns how many exports are still being done here; what waits is kept."""
        self._service.closing = True
        self._composer.drain()
        return self._composer.num_held
