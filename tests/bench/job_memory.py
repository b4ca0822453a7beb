"""What a build holds where its job runs: `python tests/bench/job_memory.py FOLDER NUM_RECORDS` prints a line of JSON.

Everything that the job does with records is done, and the work of the stages is left out: listing, planning, the file of units,
receipts, the search for near-copies, the list of rejects.
"""

import json
import sys
import threading
import time
from pathlib import Path

import psutil

from bfs_platform.config import resolve
from bfs_platform.data.plan.plan import make_plan
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.plan.unit_file import write_units
from bfs_platform.data.record import seed_of
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec

_BOXES = 4096


def listing(folder: Path, num_records: int) -> Path:
    """A folder in RORem's layout without pictures: a build only learns so when it reads them."""
    with (folder / "meta.json").open("w") as file:
        for n in range(num_records):
            paths = {role: f"{role}/{n:09d}.png" for role in ("source", "mask", "GT")}
            file.write(f"{',' if n else '['}{json.dumps(paths | {'caption': 'a small red ceramic cube'})}")
        file.write("]")
    return folder


def receipt_of(unit: Unit) -> Receipt:
    """All records of a unit kept, with boxes and hashes that depend on their ids."""
    seeds = [(row.id, seed_of(row.id)) for row in unit.rows]
    return Receipt(unit.shard, unit.key, "0" * 64, [[i, [seed % _BOXES, 0, 20, 20], f"{seed:016x}"] for i, seed in seeds])


class Peak:
    """Samples the memory of this process; the system's own figure counts its parent as well."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.at_rest = self.most = self.process.memory_info().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self.process.memory_info().rss)
            time.sleep(0.01)

    def mib(self) -> float:
        """How much more than at rest it was."""
        return (self.most - self.at_rest) / 2**20


def main(folder: str, num_records: str) -> None:
    """One build's bookkeeping."""
    peak = Peak()
    root = listing(Path(folder), int(num_records))
    plan = make_plan(open_source("rorem", root), resolve("tabletop_data_stage1", (), DataSpec), None)
    units, _ = write_units(plan.units, root)
    for unit in plan.units:
        plan.ledger.add(receipt_of(unit))
    plan.ledger.find_copies(3)
    num_rejects = sum(1 for _ in plan.ledger.reject_lines())
    sizes = {"disk": plan.ledger.num_bytes, "file": units.stat().st_size, "rejects": num_rejects}
    print(json.dumps({"peak_mib": peak.mib()} | sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
