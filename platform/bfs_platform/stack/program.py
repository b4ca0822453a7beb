"""A part of a stack that is a process of this machine."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bfs_platform.jobs import Failure
from bfs_platform.stack import marked
from bfs_platform.stack.state import Record, Stack

UP, STOPPED = "up", "stopped"
_LOOK_S = 0.2
_PATIENCE_S = 10.0  # for one that runs and does not answer, before it is started anew
_KEPT_LOG_BYTES = 32 * 2**20


def nothing() -> None:
    """For parts that need no preparation."""


@dataclass(frozen=True)
class Program:
    """How it is started, and how to know that it answers.

    `problem` says in one line why it does not, None when it does. `needs`: parts whose new start is a new start of this one.
    `prepare` runs before the start, `after` once it answers; `grace_s` it gets to end by itself.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    url: str
    version: Callable[[], str]
    problem: Callable[[], str | None]
    ports: Sequence[str] = ()
    needs: Sequence[str] = ()
    cwd: Path = Path("/")
    user: str = ""
    within_s: float = 180.0
    grace_s: float = 40.0
    prepare: Callable[[], None] = nothing
    after: Callable[[], None] = nothing

    def state(self, stack: Stack) -> str:
        """`up`, `stopped` or what is wrong, in one line."""
        record = stack.records.get(self.name)
        if record is None:
            return STOPPED
        if not record.started.runs:
            return f"died; see {self.log(stack)}"
        return self.problem() or UP

    def is_well(self, stack: Stack) -> bool:
        """Whether it runs and answers, after a moment of patience."""
        deadline = time.monotonic() + _PATIENCE_S
        record = stack.records.get(self.name)
        while record is not None and record.started.runs:
            if self.problem() is None:
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        return False

    def log(self, stack: Stack) -> Path:
        """What it prints."""
        return stack.logs / f"{self.name}.log"

    def start(self, stack: Stack) -> None:
        """Start it and wait until it answers. Raises `Failure` with the last line that it printed."""
        log = self.log(stack)
        if log.exists() and log.stat().st_size > _KEPT_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self.prepare()
        version = self.version()
        started = marked.start(self.command, self.environment, self._mark(stack), log, self.cwd, self.user)
        stack.records[self.name] = Record(started, version, time.time())
        stack.save()  # before anything else can go wrong: what is recorded can be ended
        deadline = time.monotonic() + self.within_s
        while (problem := self.problem()) is not None:
            if not started.runs:
                raise Failure(f"{self.name} ended before it answered: {_last_line(log)}; see {log}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} did not answer within {self.within_s:.0f} s ({problem}); see {log}")
            time.sleep(_LOOK_S)
        self.after()

    def stop(self, stack: Stack) -> list[int]:
        """End it and what it started. Returns the ids that had to be killed."""
        record = stack.records.get(self.name)
        killed = marked.end(record.started if record else None, self._mark(stack), self.grace_s)
        if stack.records.pop(self.name, None):
            with contextlib.suppress(OSError):  # on a full disk, what ended stays written down, which does no harm
                stack.save()
        return killed

    def _mark(self, stack: Stack) -> str:
        return f"{stack.mark}:{self.name}."


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
