"""How fast a build goes: the one line that people see, and the figures that a later plan is made from."""

import os
import sys
import time
from typing import Any

from bfs_platform.data.ledger import Ledger

_MOST_SEEN = 4096  # moments that are remembered: enough to tell a tenth of a build


class Pace:
    """Watches a ledger fill. A line on stderr (records, rejects, records per second), at most two per second."""

    def __init__(self, total: int, ledger: Ledger) -> None:
        self.total, self.ledger = total, ledger
        self.resumed = ledger.num_records
        self.start = time.monotonic()
        self.shown = 0.0
        self.seen: list[tuple[float, int]] = []
        if ledger.num_receipts:
            print(f"resuming: {self.resumed} of {total} records are there", file=sys.stderr)

    def step(self) -> None:
        """One more unit is done."""
        done, now = self.ledger.num_records, time.monotonic()
        if len(self.seen) >= _MOST_SEEN:
            self.seen = self.seen[::2]
        self.seen.append((now - self.start, done - self.resumed))
        if now - self.shown >= 0.5 or done == self.total:
            self.shown = now
            rate = (done - self.resumed) / max(now - self.start, 1e-6)
            rejects = self.ledger.rejects.total()
            print(f"{done}/{self.total} records, {rejects} rejected, {rate:.1f} rec/s", file=sys.stderr, flush=True)

    def facts(self) -> dict[str, Any]:
        """What this run did: records, seconds until the first fifth was there, records per second between it and the last tenth,
        seconds that the last tenth took beyond that rate, and the cores it had. Empty when too little was done to tell.

        The first units say nothing of the rate: whatever waits behind them in the stages is nearly done too.
        """
        if len(self.seen) < 4:
            return {}
        last_s, last = self.seen[-1]
        start = next(i for i, (_, n) in enumerate(self.seen) if n >= 0.2 * last)
        start = min(start, len(self.seen) - 2)
        first_s, first = self.seen[start]
        late_s, late = next((s, n) for s, n in self.seen[start + 1 :] if n >= 0.9 * last)
        rate = (late - first) / max(late_s - first_s, 1e-6)
        tail_s = max(0.0, last_s - late_s - (last - late) / rate)
        facts = {"records": last, "first_s": first_s, "first_records": first, "records_per_s": rate, "tail_s": tail_s}
        return {key: round(value, 4) for key, value in facts.items()} | {"cores": cores()}


def cores() -> int:
    """Processor cores that this build has: those of the Ray cluster that this process is connected to, else one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return 1
    # A private cluster may count more logical CPUs than the machine has cores.
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return max(1, min(int(ray.cluster_resources().get("CPU", 1)), nodes * (os.cpu_count() or 1)))
