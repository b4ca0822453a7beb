"""Holding on to a claimed job: beats while it is worked on, progress with them, and word of it when nobody wants it any more."""

import asyncio
import base64
import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from bfs_serve.job.engine import Preview
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Claim
from bfs_serve.telemetry.logs import log

_TELL_EVERY_S = 0.25
_PREVIEW_EVERY_S = 1.0
_PREVIEW_SIDE = 256


class Lease:
    """Beats from its making to `end`, unless the model is `stalled`. `lost` may be read, and `tell` called, on any thread.

    Steps that follow each other fast are told together, but the last one at once: each telling is a write that wakes everybody who
    waits for something.
    """

    def __init__(self, store: JobStore, claim: Claim, lease_s: float, stalled: Callable[[], bool] = lambda: False) -> None:
        self._store, self._claim, self._lease_s, self._stalled = store, claim, lease_s, stalled
        self._loop = asyncio.get_running_loop()
        self._told, self._all_done = asyncio.Event(), asyncio.Event()
        self._latest: tuple[int, int] | None = None
        self._preview: str | None = None
        self._previewed = time.monotonic()
        self.lost = False
        self.good_until = time.monotonic() + lease_s
        self._keeper: asyncio.Task[None] | None = asyncio.create_task(self._keep())

    def tell(self, step: int, steps: int, preview: Preview | None = None) -> None:
        """A step was done. `preview` is asked for a picture now and then."""
        self._latest = (step, steps)
        if preview is not None and step < steps and time.monotonic() - self._previewed > _PREVIEW_EVERY_S:
            self._preview = encoded(preview()[0])
            self._previewed = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is going away
            self._loop.call_soon_threadsafe(self._told.set)
            if step >= steps:
                self._loop.call_soon_threadsafe(self._all_done.set)

    async def end(self) -> None:
        """Beat no more."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self) -> None:
        while not self.lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / 3):
                    await self._told.wait()
            self._told.clear()
            if self._stalled():
                self.lost = True  # nobody works on it: let the lease run out, so that another worker does
                return
            latest, self._latest = self._latest, None
            preview, self._preview = self._preview, None
            await self._beat(latest, preview)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_TELL_EVERY_S, self._lease_s / 3)):
                    await self._all_done.wait()

    async def _beat(self, latest: tuple[int, int] | None, preview: str | None) -> None:
        sent = time.monotonic()
        progress: dict[str, Any] = {} if latest is None else {"step": latest[0], "steps": latest[1], "preview": preview}
        try:
            wanted = await self._store.beat(self._claim.id, self._claim.attempt, self._lease_s, **progress)
        except Exception:  # the store is away: the lease may outlast that
            log.warning("no beat", job=self._claim.id, request_id=self._claim.request_id, exc_info=True)
            if time.monotonic() > self.good_until:
                self.lost = True
            await asyncio.sleep(self._lease_s / 10)
            return
        if wanted:
            self.good_until = sent + self._lease_s
        else:
            self.lost = True


def encoded(picture: Image.Image) -> str:
    """A small preview as a data: URI."""
    small = picture.copy()
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
