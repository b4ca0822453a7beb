"""The two arms of the bench of builds: `ray` is the build as users start it, `pool` a plain pool of processes.

Both work on the same units with the same stage functions and write the same shards. Run as a program it has a cluster of its own,
as a build that a user starts: `python tests/bench/data_arms.py FOLDER NUM_RECORDS ROUNDS KEY=VALUE …` prints a line of JSON a round.
"""

import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from drawn import write_rorem

from bfs_platform.config import resolve
from bfs_platform.data.execute.build import base_of, build
from bfs_platform.data.execute.finish import workspace_of
from bfs_platform.data.execute.work import UnitWorker
from bfs_platform.data.plan import capacity
from bfs_platform.data.plan.plan import make_plan
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec
from bfs_platform.jobs import connect_ray
from bfs_platform.storage.path import Location

NUM_WORKERS = 2
WARM_SHARE = 0.2  # of the units, which start processes and load weights, and are not counted


@dataclass
class Steady:
    """A build once it is going: records, wall seconds, CPU seconds of all its processes, busy seconds per stage, encoders."""

    records: int
    wall_s: float
    cpu_s: float
    busy_s: dict[str, float]
    encoders: int


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of these processes, those of their children that have ended included."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def everything() -> list[psutil.Process]:
    """This process and all below it, those of a Ray cluster that it started included."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def num_encoders() -> int:
    """Actors that encode, as Ray names their processes; at least one."""
    found = 0
    for process in everything():
        with contextlib.suppress(psutil.Error):
            found += "EncodeStage" in " ".join(process.cmdline())
    return max(1, found)


class Watch:
    """Lets receipts pass, and measures between the first fifth of the units and the last but a twentieth."""

    def __init__(self, num_units: int, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        self.processes = processes
        self.first, self.last = int(WARM_SHARE * num_units), int(0.95 * num_units)
        self.seen: list[Receipt] = []
        self.marks: list[tuple[float, float]] = []
        self.encoders = 1

    def __call__(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        for number, receipt in enumerate(receipts, start=1):
            if self.first < number <= self.last:
                self.seen.append(receipt)
            if number in (self.first, self.last):
                self.marks.append((time.perf_counter(), cpu_s(self.processes())))
                self.encoders = num_encoders()
            yield receipt

    def steady(self) -> Steady:
        """What was seen between the two marks."""
        (began, cpu_began), (ended, cpu_ended) = self.marks
        stages = sorted({name for receipt in self.seen for name in receipt.seconds})
        busy = {name: sum(r.seconds.get(name, 0.0) for r in self.seen) for name in stages}
        return Steady(sum(len(r.records) for r in self.seen), ended - began, cpu_ended - cpu_began, busy, self.encoders)


_worker: UnitWorker | None = None


def load(spec: DataSpec, root: Location, base: str) -> None:
    """Once per process of the pool."""
    global _worker
    _worker = UnitWorker(spec, root, base)


def work(task: tuple[Unit, Path]) -> Receipt:
    """One unit in a process of the pool."""
    assert _worker is not None
    return _worker(task[0], workspace_of(task[1]))


def pool(root: Path, output: Path, spec: DataSpec, base: str) -> Steady:
    """The plain loop: units over a pool of processes, receipts as they come."""
    source = open_source("rorem", root)
    plan = make_plan(source, spec, base_of(base))
    context = multiprocessing.get_context("spawn")
    others = everything()
    loaded = (spec, source.folder, base)
    with workspace_of(output).locked("bench"), ProcessPoolExecutor(NUM_WORKERS, context, initializer=load, initargs=loaded) as workers:
        watch = Watch(len(plan.units), lambda: {psutil.Process(), *everything()} - set(others[1:]))
        for _ in watch(workers.map(work, [(unit, output) for unit in plan.units])):
            pass
        return watch.steady()


def ray(root: Path, output: Path, spec: DataSpec, base: str) -> tuple[Steady, float]:
    """The build itself, and the seconds it took altogether; what is measured is its stream. Needs a connected Ray."""
    from bfs_platform.data.execute.stream import run_stream

    source = open_source("rorem", root)
    watches: list[Watch] = []

    def stream(units: Sequence[Unit]) -> Iterator[Receipt]:
        watches.append(Watch(len(units), everything))
        yield from watches[0](run_stream(units, spec, source.folder, output, base))

    manifest = build(source, output, spec, base, stream=stream)
    return watches[0].steady(), float(json.loads(manifest.read_text())["notes"]["wall_s"])


def main(folder: str, num_records: str, rounds: str, *changes: str) -> None:
    """Both arms, interleaved, and before them a build of a quarter of the records, from which the large one is predicted."""
    connect_ray()
    spec, root = resolve("tabletop_data_stage1", ["buckets=[[64,64]]", *changes], DataSpec), Path(folder)
    large = write_rorem(root / "large", int(num_records), size=64)
    small = write_rorem(root / "small", int(num_records) // 4, size=64)
    for number in range(int(rounds)):
        ray(small, root / f"small{number}", spec, "tiny")
        plan = capacity.measure(root / f"small{number}")
        steady, took_s = ray(large, root / f"ray{number}", spec, "tiny")
        plain = pool(large, root / f"pool{number}", spec, "tiny")
        predicted_s = plan.wall_s(int(num_records), plan.cores)
        print(json.dumps({"ray": asdict(steady), "pool": asdict(plain), "predicted_s": predicted_s, "took_s": took_s}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
