"""Which failures to load a model pass by themselves, and when to try again: a version is not to be blamed for a full disk."""

import errno
import time

from bfs_platform.registry.store import Unreachable

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENETUNREACH, errno.EHOSTUNREACH}
_FIRST_S, _LONGEST_S = 10.0, 40.0  # a promotion or a rollback is to arrive within a minute, also after a registry was away


def passes(error: Exception) -> bool:
    """Whether the same may go well later: an address did not answer, a disk, a table or a memory was full."""
    if isinstance(error, Unreachable | ConnectionError | TimeoutError) or is_out_of_memory(error):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was lacking, of the machine or of an accelerator, whose error torch names: it need not be imported for that."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


class Pauses:
    """How long to leave alone what failed: ten seconds, then twice as long each time, forty at most."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}  # when it may be tried again, and how long that pause is

    def is_resting(self, key: str) -> bool:
        return key in self._until and time.monotonic() < self._until[key][0]

    def failed(self, key: str) -> float:
        """Note a failure. Returns the seconds until it may be tried again."""
        pause = min(2 * self._until[key][1], _LONGEST_S) if key in self._until else _FIRST_S
        self._until[key] = time.monotonic() + pause, pause
        return pause

    def went_well(self, key: str) -> None:
        self._until.pop(key, None)
