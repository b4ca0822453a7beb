"""Work beside Krita's own thread, which must not wait for a network."""

from __future__ import annotations

import threading
from typing import Any, Callable

from PyQt5.QtCore import QThread, pyqtSignal

from .service import Service, ServiceError


class _Canceled(Exception):
    """Nobody waits any longer."""


class Task(QThread):
    """Calls `work(service, tell)` on a thread of its own; what it tells, returns or fails with arrives in Krita's thread."""

    told = pyqtSignal(dict)
    done = pyqtSignal(object)
    failed = pyqtSignal(str)

    _running: set[Task] = set()  # Qt ends the program when a thread is forgotten while it runs

    def __init__(self, url: str, key: str, work: Callable[[Service, Callable[[dict[str, Any]], Any]], Any]) -> None:
        super().__init__()
        self._url, self._key, self._work = url, key, work
        self._canceled = threading.Event()
        self._running.add(self)
        self.finished.connect(lambda: self._running.discard(self))

    def cancel(self) -> None:
        """End soon, and cancel the job."""
        self._canceled.set()

    def run(self) -> None:
        """Qt calls this."""
        try:
            found = self._work(Service(self._url, self._key, pause=self._pause), self.told.emit)
        except _Canceled:
            return
        except ServiceError as error:
            self.failed.emit(str(error))
        except Exception as error:  # whatever it is, somebody waits for an answer
            self.failed.emit(f"{type(error).__name__}: {error}")
        else:
            self.done.emit(found)

    def _pause(self, seconds: float) -> None:
        if self._canceled.wait(seconds):
            raise _Canceled
