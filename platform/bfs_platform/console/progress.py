"""How far a program has come: a bar where stderr is a terminal, a line every few seconds elsewhere, one line at the end."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bfs_platform.console import log_file, screen

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

_MOMENT_S = 0.5  # what two workers report one right after the other is no rate
FIRST_S, LONGEST_S = 5.0, 30.0  # between two lines: short at first, then half of what has passed


class Progress:
    """What is known of the work: units done, of how many, since when. Call it with the number that is done.

    `note` is whatever else people should see beside it. The rate is that between the first and the last call: what happens
    before, Ray's start for example, says nothing of it.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self.note = 0, ""
        self.began = time.monotonic()
        self.changed: Callable[[], None] = lambda: None
        self._first: tuple[float, int] | None = None
        self._last_s = self.began

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """`done` units are done, of `total` where that is known only now."""
        self.total = total if total is not None else self.total
        self.done, self.note, self._last_s = done, note, time.monotonic()
        if self._first is None or done < self._first[1]:
            self._first = (self._last_s, done)
        self.changed()

    def text(self) -> str:
        """As it stands now: `17/48 scenes, 0.77/s, 40 s left`, and the note."""
        now = time.monotonic()
        parts = [self._count()]
        rate = self._rate()
        if self.done == self.total:
            parts.append(f"finishing, {duration(now - self.began)} so far")
        elif rate is None:
            parts.append(f"{duration(now - self.began)} so far")
        else:
            left_s = ((self.total or self.done) - self.done) / rate - (now - self._last_s)
            parts += [f"{_figure(rate)}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each", f"{duration(max(left_s, 0.0))} left"]
        return ", ".join([*parts, self.note] if self.note else parts)

    def summary(self) -> str:
        """As it ended: `48/48 scenes in 45 s`, and the note."""
        end = f"{self._count()} in {duration(time.monotonic() - self.began)}"
        return f"{end}, {self.note}" if self.note else end

    def _count(self) -> str:
        return f"{self.done}/{self.total if self.total is not None else '?'} {self.unit}"

    def _rate(self) -> float | None:
        if self._first is None or self._last_s - self._first[0] < _MOMENT_S or self.done <= self._first[1]:
            return None
        return (self.done - self._first[1]) / (self._last_s - self._first[0])


@contextlib.contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show people how far `what` has come while the block runs, and one line when it ends well.

    Args: `total` units of work, `unit` in the plural; None where the total becomes known with the first call.
    """
    shown = Progress(what, total, unit)
    with _bar(shown) if screen.shows_bars() else _lines(shown):
        yield shown
    screen.say(f"{what}: {shown.summary()}")


@contextlib.contextmanager
def _lines(shown: Progress) -> Iterator[None]:
    """A line now and then, also while nothing moves: people want to know that it lives."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(min(max(FIRST_S, (time.monotonic() - shown.began) / 2), LONGEST_S)):
            log_file.announce()
            screen.say(f"{shown.what}: {shown.text()}")

    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _bar(shown: Progress) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rest(ProgressColumn):
        def render(self, task: "Task") -> "Text":
            return Text(shown.text())

    console = Console(file=screen.error_stream())
    columns = (TextColumn("{task.description}"), BarColumn(), Rest())
    bars = Bars(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)

    def above(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with bars, screen.bar_below(above):
        task = bars.add_task(shown.what, total=shown.total)

        def changed() -> None:
            log_file.announce()
            bars.update(task, completed=shown.done, total=shown.total)

        shown.changed = changed
        yield


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
