"""How many samplers there should be: enough for the jobs that wait and run. A policy of Ray Serve's autoscaling."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from bfs_serve.job.orders import DRAWN_KINDS
from bfs_serve.store.jobs import JobStore
from bfs_serve.telemetry.logs import log

WANTED = "sampler wanted:"  # of leases that are held while a served name has no version


class StoreDepthPolicy:
    """Runs in Serve's controller; reads the depth of the store beside its loop, at most every `poll_s` seconds.

    Built as Serve's own policy for task queues is: one short read at a time, no loop of its own that would outlive it.
    """

    def __init__(self, store: str, jobs_per_replica: float = 2.0, models: Sequence[str] = (), poll_s: float = 0.25) -> None:
        self._url, self._jobs_per_replica, self._models, self._poll_s = store, jobs_per_replica, models, poll_s
        self._store: JobStore | None = None
        self._depth = 0
        self._read: asyncio.Task[None] | None = None
        self._last = -math.inf

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The wanted number of replicas; Serve bounds it by its configuration and delays."""
        if (self._read is None or self._read.done()) and time.monotonic() - self._last >= self._poll_s:
            self._last = time.monotonic()
            self._read = asyncio.get_running_loop().create_task(self._poll())
        return math.ceil(self._depth / self._jobs_per_replica), {"depth": self._depth}

    async def _poll(self) -> None:
        try:
            if self._store is None:
                self._store = await asyncio.to_thread(JobStore, self._url)
            depth = await self._store.depth(DRAWN_KINDS)  # exports need no sampler
            published = await self._store.published()
            # Nobody can order of what is not loaded. Which names were added while the service runs, its ingress says.
            unknown = any(not published.get(name, ("", {}))[0] for name in self._models) or bool(await self._store.holders(WANTED))
            self._depth = max(depth.queued + depth.running, unknown)
        except Exception as error:
            log.warning("the depth of the job store is not known", error=f"{type(error).__name__}: {error}"[:500])

    def __del__(self) -> None:
        if self._store is not None:
            self._store.close()
