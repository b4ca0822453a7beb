"""The engine of a storm: a sampler of known output that writes down what it drew, and the embedded model beside it."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from bfs_serve.job.engine import Generation, OnStep, Pin, Request, Settings
from bfs_serve.model.engine import PipelineEngine
from bfs_serve.model.fake import FakeEngine
from bfs_serve.telemetry.amounts import Amounts

TINY = "tiny"


class StormEngine:
    """`tiny` is the real pipeline. Any other name is the fake engine's, which appends the seed of each layer it drew to `?drawn=PATH`,
    and finishes none while there is a file `?gate=PATH`."""

    batches_exactly = False

    def __init__(self, name: str, pin: Pin) -> None:
        self._engine: PipelineEngine | FakeEngine = PipelineEngine(name, pin) if name == TINY else FakeEngine(name, pin)
        told = parse_qs(name.partition("?")[2])
        self._drawn, self._gate = told.get("drawn"), [Path(path) for path in told.get("gate", [])]
        self.info = self._engine.info

    @classmethod
    def locate(cls, name: str) -> Pin:
        """See `bfs_serve.job.engine.Engine`."""
        return PipelineEngine.locate(name) if name == TINY else FakeEngine.locate(name)

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        """See `bfs_serve.job.engine.Engine`."""
        drawn = self._engine.draw(requests, settings, on_step, canceled)
        while any(gate.exists() for gate in self._gate):
            time.sleep(0.05)
        if self._drawn:
            log = os.open(self._drawn[0], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(log, "".join(f"{one.seed}\n" for one in drawn).encode())  # one call: whole lines, also from several processes
            os.close(log)
        return drawn

    def counted(self) -> Amounts:
        """See `bfs_serve.job.engine.Engine`."""
        return self._engine.counted()
