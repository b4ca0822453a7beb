"""Hearing that a file was written to, from Linux itself (inotify(7)); other systems do not have it."""

import asyncio
import contextlib
import ctypes
import os
import sys

_IN_MODIFY = 0x2
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)


class Written:
    """Belongs to the event loop on which it is made. Raises `OSError` where files cannot be watched."""

    def __init__(self, path: str) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("there is no inotify here")
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_MODIFY) < 0:
            os.close(self._descriptor)
            raise OSError(ctypes.get_errno(), "inotify_add_watch", path)
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._heard)

    async def wait(self, timeout_s: float) -> bool:
        """Whether the file was written to since this was last asked, within this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        heard = self._event.is_set()
        self._event.clear()
        return heard

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._descriptor, 4096):
                pass
        self._event.set()
