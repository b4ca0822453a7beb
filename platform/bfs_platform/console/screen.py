"""The two streams that are ours: lines for people on stderr, the one answer for scripts on stdout.

What a process of Ray says reaches its driver among everything that libraries print there. Such a process marks its lines, so
that the driver can tell them apart (`console.log_file`).
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

MARK = "\x02bfs "  # a control character that ends no line, as \x1e would
_OURS = ("bfs_model", "bfs_platform", "bfs_serve")


@dataclass
class _Streams:
    """`err` and `out` are private copies where sys.stderr and sys.stdout have become the log."""

    err: TextIO | None = None
    out: TextIO | None = None
    above: Callable[[str], None] | None = None
    marked: bool = False
    verbose: bool = False


_streams = _Streams()


def say(text: str) -> None:
    """A line for the person at the terminal; scripts do not see it."""
    if _streams.marked:
        # Ray Train replaces `print` in its workers by one that says everything twice.
        sys.stderr.write(f"{MARK}{json.dumps(text)}\n")
        sys.stderr.flush()
    elif _streams.above is not None:
        _streams.above(text)
    else:
        print(text, file=_streams.err or sys.stderr, flush=True)


def answer(text: object) -> None:
    """The line for scripts: on the stdout that this program was started with."""
    print(text, file=answer_stream(), flush=True)


def answer_stream() -> TextIO:
    """The stdout that scripts see."""
    return _streams.out or sys.stdout


def error_stream() -> TextIO:
    """The stderr that people see."""
    return _streams.err or sys.stderr


def shows_bars() -> bool:
    """Whether people sit at a terminal that can redraw a line, with nothing else writing on it."""
    return error_stream().isatty() and os.environ.get("TERM", "dumb") != "dumb" and not _streams.verbose


def marked(line: str) -> str | None:
    """What a process of Ray said for people in this line of its output; None where it is a library's."""
    _, mark, rest = line.partition(MARK)
    if not mark:
        return None
    try:  # behind it may stand how often Ray left the same line out
        return str(json.JSONDecoder().raw_decode(rest)[0])
    except ValueError:
        return None


def in_worker() -> None:
    """Called in a process of Ray: from here on `say` marks its lines, and our warnings are said."""
    _streams.marked = True
    speak_for_loggers()


def speak_for_loggers() -> None:
    """Say what our own modules log at level WARNING and above. Libraries keep their loggers as they are."""
    for name in _OURS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Said) for handler in logger.handlers):
            logger.addHandler(_Said(logging.WARNING))


@contextmanager
def bar_below(above: Callable[[str], None]) -> Iterator[None]:
    """While a bar is drawn on the last line, lines are said through `above`."""
    _streams.above = above
    try:
        yield
    finally:
        _streams.above = None


def separated(err: TextIO | None, out: TextIO | None, verbose: bool = False) -> None:
    """Told by the log: these copies are what people and scripts see; None where sys.stderr and sys.stdout are again."""
    _streams.err, _streams.out, _streams.verbose = err, out, verbose


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(" ".join(record.getMessage().splitlines()))
        except Exception:
            self.handleError(record)
