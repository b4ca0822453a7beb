"""Everything that libraries print goes into a log; people are told where it is.

Ray's C++ writes to descriptor 2, so it is the descriptors that are led away, not only Python's streams. What is printed first
lies in memory: a program that refuses its input leaves nothing behind.
"""

import contextlib
import faulthandler
import io
import os
import re
import sys
import time
import traceback
from pathlib import Path

from bfs_platform.console import screen

VARIABLE = "BFS_LOG"
_KEPT = 100
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Log:
    """Where descriptors 1 and 2 lead: to `early`, and to `path` once the log is `kept`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.early = os.memfd_create("bfs")
        self.path: Path | None = None
        self.impossible = False
        self.python = sys.stdout, sys.stderr
        self.out, self.err = (os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="backslashreplace") for fd in (1, 2))
        os.dup2(self.early, 1)
        os.dup2(self.early, 2)
        sys.stdout, sys.stderr = _Sorted(1), _Sorted(2)

    def keep(self) -> Path | None:
        """Give the log its name; None where it cannot be written."""
        if self.path is None:
            wanted = _path_of(self.name)
            try:
                wanted.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(wanted, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            except OSError as error:
                self.impossible = True
                screen.say(f"No log can be written ({error}); run it with --verbose to see everything.")
                return None
            printed = self.content()
            os.write(file, printed)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.write(file, self.content()[len(printed) :])  # of another thread, meanwhile
            os.close(file)
            self.path = wanted
            if VARIABLE not in os.environ:
                _prune(wanted.parent)
        return self.path

    def content(self) -> bytes:
        """What was printed before the log had a name."""
        return os.pread(self.early, os.fstat(self.early).st_size, 0)

    def undo(self, out: int) -> None:
        """Lead descriptor 2 back to where it was, and descriptor 1 to `out`."""
        os.dup2(self.err.fileno(), 2)
        os.dup2(out, 1)
        sys.stdout, sys.stderr = self.python


_log: _Log | None = None


def separate(name: str) -> None:
    """From here on stderr and stdout of this process hold nothing but what is said through `screen`; `name` names the log.

    Does nothing where Python's streams are not this process's own, as in a test that captures them.
    """
    global _log
    screen.speak_for_loggers()
    if _log is not None or not _own_streams():
        return
    _log = _Log(name)
    screen.separated(_log.err, _log.out)
    faulthandler.enable(_log.err)  # what kills the process in C++ is not to die in the log


def show_everything() -> None:
    """`--verbose`: what was kept so far, and from here on everything, on stderr."""
    global _log
    if _log is None:
        return
    _log.undo(out=_log.err.fileno())
    os.write(2, _log.content())
    sys.stdout, sys.stderr = _Sorted(2), _Sorted(2)
    screen.separated(_log.err, _log.out, verbose=True)
    _log = None


def give_back() -> None:
    """Undo `separate`, for a program that takes this process over."""
    global _log
    if _log is not None:
        _log.undo(out=_log.out.fileno())
        screen.separated(None, None)
        _log = None


def announce() -> None:
    """Say where the log is, once, when something is in it."""
    if _log is not None and _log.path is None and not _log.impossible and os.fstat(_log.early).st_size:
        path = _log.keep()
        if path is not None and VARIABLE not in os.environ:  # whoever chose the file knows it
            screen.say(f"Log: {_short(path)}")


def show_fault(error: BaseException) -> None:
    """A fault of ours: its traceback, for people and in the log, and where the log is."""
    path = None if _log is None else _log.keep()
    if path is not None:
        traceback.print_exception(error)
    traceback.print_exception(error, file=screen.error_stream())
    if path is not None:
        screen.say(f"What was printed before that is in {_short(path)}")


class _Sorted(io.TextIOWrapper):
    """Stands for a stream of this process: lines that a process of Ray said for people are said, the rest is written on."""

    def __init__(self, descriptor: int) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        super().__init__(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", write_through=True)
        self._begun = ""

    def write(self, text: str) -> int:
        """Write `text`; a marked line waits for its end."""
        self._begun += text
        if screen.MARK in self._begun and not self._begun.endswith("\n"):
            return len(text)
        begun, self._begun = self._begun, ""
        for line in begun.splitlines(keepends=True):
            said = screen.marked(line)
            if said is None:
                super().write(_COLOURS.sub("", line))
            else:
                screen.say(said)
        self.flush()
        return len(text)


def _own_streams() -> bool:
    try:
        return (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
    except (AttributeError, OSError, ValueError):
        return False


def _path_of(name: str) -> Path:
    from bfs_platform.tracking.uri import bfs_home

    given = os.environ.get(VARIABLE)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Path(given).absolute() if given else bfs_home() / "logs" / f"{name}-{moment}-{os.getpid()}.log"


def _prune(folder: Path) -> None:
    """Keep the newest logs. Others may be doing the same."""
    ages = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            ages.append((path.stat().st_mtime, path))
    for _, old in sorted(ages)[:-_KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
