"""How long each stage of a job takes at its worker, as it is counted and traced."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bfs_serve.telemetry import amounts, traces
from bfs_serve.telemetry.amounts import Amounts

LOAD, DENOISE, DECODE, ENCODE = "load", "denoise", "decode", "encode"
"""Pictures and, where need be, the model · the steps · from the last step to the layer · files and composite."""


class Stages:
    """Of one attempt. Times are seconds since the epoch. May be told of steps on any thread."""

    def __init__(self) -> None:
        self._begun_at = time.time()
        self._spans: dict[str, tuple[float, float]] = {}
        self._stepped_at: float | None = None
        self._done = self._told = 0

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """The block is this stage."""
        begin = time.time()
        try:
            yield
        finally:
            self._spans[stage] = begin, time.time()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """The block is the model's: denoising to the last step, then decoding."""
        begin = time.time()
        try:
            yield
        finally:
            last = self._stepped_at or begin
            self._spans |= {DENOISE: (begin, last), DECODE: (last, time.time())}

    def stepped(self, done: int) -> None:
        """So many steps are done."""
        self._stepped_at = time.time()
        self._done = max(self._done, done)

    def amounts(self, version: str) -> Amounts:
        """What is counted of them. Steps count once, also where this is asked for again."""
        steps, self._told = self._done - self._told, self._done
        seconds = [amounts.of_seconds(amounts.STAGE_SECONDS, end - begin, stage) for stage, (begin, end) in self._spans.items()]
        return amounts.merged([*seconds, {(amounts.STEPS, version[:12]): steps} if steps else {}])

    def trace(self, parent: str, attributes: Mapping[str, str | int]) -> None:
        """Tell the trace of the request that the job came with."""
        attempt = traces.begin("attempt", parent, at=self._begun_at, attributes=attributes)
        for stage, (begin, end) in self._spans.items():
            traces.begin(stage, attempt.traceparent, at=begin).end(at=end)
        attempt.end()
