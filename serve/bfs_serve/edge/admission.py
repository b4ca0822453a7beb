"""Turning work away without reading it for a moment after the service was found to have no room for it.

In a storm of retries, reading pictures and handing them on only to hear a refusal would take the time that the accepted ones need.
Who sends again what was, or may have been, taken on asks for no new room, and is let through: known by caller and `Idempotency-Key`.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from bfs_serve.problems import Problem

HEADER = "X-BFS-No-Room"
"""With it an ingress replica says for whom there is no room; it goes no further than the guard."""
FOR_ALL, FOR_CALLER = "all", "caller"

_PROBLEMS = {
    FOR_ALL: Problem("busy", "The queue is full; try again.", retry_after_s=2),
    FOR_CALLER: Problem("too-many-requests", "Too many of your jobs are waiting; fetch results, or wait.", retry_after_s=5),
}
_EVERYBODY = ""  # no caller has an empty name
_MANY = 1000


class Admission:
    """Of one guard. While there is no room, one request in `pause_s` is let through to see whether that is still so."""

    def __init__(self, pause_s: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s, self._clock = pause_s, clock
        self._full: dict[str, tuple[float, Problem]] = {}
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()

    def refusal(self, caller: str, key: str = "") -> Problem | None:
        """Why a request for work is not to be read. `key`: its idempotency key, if it has one."""
        if (caller, key) in self._taken:
            return None
        for whom in (_EVERYBODY, caller):
            until, problem = self._full.get(whom, (0.0, None))
            if problem is None:
                continue
            if self._clock() < until:
                return problem
            self._full[whom] = self._clock() + self._pause_s, problem
        return None

    def heard(self, caller: str, no_room: str | None, accepted: bool | None, key: str = "") -> None:
        """What became of a request that was let through; None: nobody heard. `no_room`: the value of `HEADER`."""
        self._taken.pop((caller, key), None)
        if key and no_room is None and accepted is not False:
            self._taken[caller, key] = None
            if len(self._taken) > _MANY:
                self._taken.popitem(last=False)
        if no_room in _PROBLEMS:
            if len(self._full) > _MANY:
                self._full.clear()
            self._full[_EVERYBODY if no_room == FOR_ALL else caller] = self._clock() + self._pause_s, _PROBLEMS[no_room]
        elif accepted:
            self._full.pop(_EVERYBODY, None)
            self._full.pop(caller, None)
