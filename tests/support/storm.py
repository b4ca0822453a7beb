"""A storm: callers of a service, and kills among its processes, until every caller has its end."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
from storm_callers import Callers
from storm_checks import faults_of, settled
from storm_kills import CONTROLLER, INGRESS, PROXY, SAMPLER, Kills
from storm_service import StormService

_PROBES = ("/healthz", "/readyz", "/metrics", "/v1/models") * 3
OPTIONS = ("--min-replicas", "2", "--max-replicas", "2", "--ingress-replicas", "2", "--lease-s", "3", "--rate", "")
WHOLE = {SAMPLER: 2, INGRESS: 2, PROXY: 1, CONTROLLER: 1}


class Storm:
    """`pause_s`: between kills at random, which go on to the end; None for none of them. `blows`: names of processes of which one is
    killed each when its share of the callers is served. `restarts`: what is done to the whole service, in the same way, with nothing
    killed at random meanwhile."""

    def __init__(
        self,
        service: StormService,
        callers: Callers,
        roots: Callable[[], list[int]],
        pause_s: float | None,
        others: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
        restarts: tuple[Callable[[], None], ...] = (),
        blows: tuple[str, ...] = (),
    ) -> None:
        self._service, self._callers, self._restarts, self._blows, self._pause_s = service, callers, restarts, blows, pause_s
        self._kills = Kills(WHOLE, roots, self._answers, len(callers.stories), others)
        self._seconds = 0.0

    async def run(self) -> None:
        """All of it."""
        begin = time.monotonic()
        async with httpx2.AsyncClient(base_url=self._service.url, timeout=30, trust_env=False) as self._client:
            calling, probing = asyncio.create_task(self._callers.run()), asyncio.create_task(self._probe())
            for number, restart in enumerate(self._restarts, 1):
                async with self._killing():
                    await self._callers.served(number / (len(self._restarts) + 1))
                await asyncio.to_thread(restart)
            for number, name in enumerate(self._blows, 1):
                await self._callers.served(number / (len(self._blows) + 1))
                await self._kills.kill(name)
            async with self._killing():
                await calling
            await self._kills.until_whole()
            await settled(self._service.store)
            probing.cancel()
        self._seconds = round(time.monotonic() - begin, 1)

    def seen(self) -> dict[str, Any]:
        """Numbers for a report."""
        callers = self._callers
        told = {"requests": len(callers.stories), "seconds": self._seconds, "longest silence, s": round(callers.longest_silence_s, 1)}
        told["attempts beyond the first"] = sum(max(0, story.view.get("attempt", 1) - 1) for story in callers.stories)
        return told | {"waited out": dict(callers.waited_out), "whole after, s": dict(self._kills.recovery_s)}

    def faults(self) -> list[str]:
        """All that is wrong."""
        return faults_of(self._callers.stories, self._service.store, self._service.drawn)

    async def _probe(self) -> None:
        """What monitoring asks all the time, a dozen at once; no job may suffer from it."""
        while True:
            await asyncio.gather(*(self._client.get(path) for path in _PROBES), return_exceptions=True)
            await asyncio.sleep(0.3)

    @contextlib.asynccontextmanager
    async def _killing(self) -> Any:
        if self._pause_s is None:
            yield
            return
        task = asyncio.create_task(self._kills.run(self._pause_s))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return (await self._client.get("/readyz")).status_code == 200
        return False
