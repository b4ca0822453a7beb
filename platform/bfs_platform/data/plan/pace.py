"""How fast a build goes: what people see of it, and the figures that a later plan is made from."""

import os
import sys
import time
from typing import Any

from bfs_platform.console.progress import Progress
from bfs_platform.data.plan.ledger import Ledger

_MOST_SEEN = 4096  # moments that are remembered: enough to tell a tenth of a build


class Pace:
    """Watches a ledger fill."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.resumed = ledger.num_records
        self.start = time.monotonic()
        self.seen: list[tuple[float, int]] = []

    def show_on(self, progress: Progress) -> None:
        """Let people see how many records are done, and how many were rejected."""
        progress(self.ledger.num_records, note=f"{self.ledger.rejects.total()} rejected")

    def step(self) -> None:
        """One more unit is done."""
        done, now = self.ledger.num_records, time.monotonic()
        if len(self.seen) >= _MOST_SEEN:
            self.seen = self.seen[::2]
        self.seen.append((now - self.start, done - self.resumed))

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
