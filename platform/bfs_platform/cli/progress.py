"""Steps on stderr: a bar on a terminal, a few plain lines anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnStep = Callable[[int, int], None]
_NUM_LINES = 4


@contextmanager
def steps(description: str) -> Iterator[OnStep]:
    """Yield a function to be called with (steps done, steps in all)."""
    if sys.stderr.isatty():
        with _bar(description) as on_step:
            yield on_step
    else:
        yield _lines(description)


@contextmanager
def _bar(description: str) -> Iterator[OnStep]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(description: str) -> OnStep:
    def on_step(done: int, total: int) -> None:
        every = max(total // _NUM_LINES, 1)
        if done % every == 0 or done == total:
            print(f"{description}: step {done} of {total}", file=sys.stderr, flush=True)

    return on_step
