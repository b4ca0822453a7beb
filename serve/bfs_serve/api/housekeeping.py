"""What somebody has to do now and then, whoever it is: jobs whose worker was lost, and what has expired."""

import asyncio
import contextlib
import secrets

from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

_NAME = "housekeeping"
_PERIOD_S = 5.0
_SWEEP_S = 600.0
_ORPHAN_S = 600.0  # a picture is stored moments before its job names it
_GRACE_S = 30.0  # a picture may just have been sent again


class Housekeeping:
    """One of all replicas does it at a time, by lease."""

    def __init__(self, store: JobStore, blobs: Blobs, period_s: float = _PERIOD_S) -> None:
        self._store, self._blobs, self._period_s = store, blobs, period_s
        self._holder = secrets.token_hex(8)
        self._swept = 0.0

    async def run(self) -> None:
        """Until canceled."""
        try:
            while True:
                if await self._store.hold(_NAME, self._holder, 4 * self._period_s):
                    await self.once()
                await asyncio.sleep(self._period_s)
        finally:
            with contextlib.suppress(Exception):
                await self._store.let_go(_NAME, self._holder)

    async def once(self) -> None:
        """Queue again or end what lost its worker; forget what has expired, and its pictures."""
        await self._store.recover()
        while gone := await self._store.purge():
            await asyncio.to_thread(self._blobs.remove, gone, _GRACE_S)
        now = asyncio.get_running_loop().time()
        if now - self._swept > _SWEEP_S:
            self._swept = now
            await self._sweep()

    async def _sweep(self) -> None:
        """Pictures that no job names: of replicas that died, and of results for which there was no room."""
        names = await asyncio.to_thread(self._blobs.names)
        for batch in _batches(sorted(names), 500):
            used = await self._store.used(set(batch))
            await asyncio.to_thread(self._blobs.remove, [name for name in batch if name not in used], _ORPHAN_S)


def _batches(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]
