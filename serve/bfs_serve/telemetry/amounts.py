"""What is counted, by name and label, and counters that a process keeps until it can hand them on.

The totals of the service lie in its store (`store.totals`); several labels of one counter are written with spaces between them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

ACCEPTED, REFUSED, FINISHED, RETRIED = "accepted", "refused", "finished", "retried"
REQUESTS, GUARD_REFUSED, STEPS, LOOKUPS = "requests", "guard_refused", "steps", "lookups"
QUEUE_SECONDS, GENERATION_SECONDS = "queue_seconds", "generation_seconds"
VERSION_JOBS, VERSION_SECONDS, VERSION_SQUARES = "version_jobs", "version_seconds", "version_squares"
STAGE_SECONDS, REQUEST_SECONDS, LOAD_SECONDS = "stage_seconds", "request_seconds", "load_seconds"
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0)
SUM = "sum"
HIT, MISS = "hit", "miss"

Amounts = Mapping[tuple[str, str], float]
"""{(counter, label): how much more}."""


def of_seconds(name: str, seconds: float, label: str = "") -> dict[tuple[str, str], float]:
    """One more duration in a histogram: the bucket that it falls into, and the sum of all."""
    place = bisect_left(BUCKETS_S, seconds)
    bucket = f"{BUCKETS_S[place]}" if place < len(BUCKETS_S) else "+Inf"
    return {(name, f"{label} {bucket}".strip()): 1, (name, f"{label} {SUM}".strip()): seconds}


def merged(parts: Iterable[Amounts]) -> dict[tuple[str, str], float]:
    """Several amounts as one."""
    whole: dict[tuple[str, str], float] = {}
    for part in parts:
        for key, amount in part.items():
            whole[key] = whole.get(key, 0) + amount
    return whole


class Tally:
    """Amounts of this process that nobody else knows yet. For one thread."""

    def __init__(self) -> None:
        self._amounts: dict[tuple[str, str], float] = {}

    def add(self, amounts: Amounts) -> None:
        """Count these as well."""
        for key, amount in amounts.items():
            self._amounts[key] = self._amounts.get(key, 0) + amount

    def count(self, name: str, label: str = "") -> None:
        """One more."""
        self.add({(name, label): 1})

    def drain(self) -> dict[tuple[str, str], float]:
        """All of it, to hand on; from here on it is counted anew."""
        amounts, self._amounts = self._amounts, {}
        return amounts
