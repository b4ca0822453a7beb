"""Builds on Ray Data beside a plain pool of processes, and a plan beside what a larger build then took.

BFS_BENCH_RECORDS changes the size of the large builds (640); the small ones have a quarter.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import data_arms
import drawn
import pytest
from measuring import Row, circumstances, table

pytestmark = pytest.mark.bench

NUM_RECORDS = int(os.environ.get("BFS_BENCH_RECORDS", "640"))
ROUNDS = int(os.environ.get("BFS_BENCH_ROUNDS", "2"))


CHANGES = ("execution.encoders=2", "max_reject_rate=0.5", "stage=1")


def idle_share(steady: data_arms.Steady) -> tuple[str, float]:
    """The stage that is busiest per worker, and how much of their time its workers wait."""
    workers = {"encode": steady.encoders, "compose": data_arms.NUM_WORKERS, "write": data_arms.NUM_WORKERS}
    busy = {name: seconds / workers[name] / steady.wall_s for name, seconds in steady.busy_s.items()}
    name = max(busy, key=lambda stage: busy[stage])
    return name, 1 - busy[name]


def test_ray_data_beside_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints records per second of both, by the clock and by CPU time, interleaved; idle share; predicted by measured time."""
    command = [sys.executable, data_arms.__file__, str(tmp_path), str(NUM_RECORDS), str(ROUNDS), *CHANGES]
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(drawn.__file__).parent)])
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    made = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    rays, pools = ([data_arms.Steady(**one[arm]) for one in made] for arm in ("ray", "pool"))
    predicted_s, measured_s = ([one[name] for one in made] for name in ("predicted_s", "took_s"))
    by_clock = [statistics.median(s.records / s.wall_s for s in arm) for arm in (rays, pools)]
    cpu_ms = [min(1e3 * s.cpu_s / s.records for s in arm) for arm in (rays, pools)]
    stages = [idle_share(s) for s in rays]
    as_planned = statistics.median(predicted_s) / statistics.median(measured_s)
    rows = [
        Row("Ray Data ÷ pool, records per second", by_clock[0] / by_clock[1], 1.0, 0.9, at_least=True),
        Row("Ray Data ÷ pool, records per CPU second", cpu_ms[1] / cpu_ms[0], 1.0, 0.9, at_least=True),
        Row("CPU time of a record, Ray Data", cpu_ms[0], unit=" ms"),
        Row("CPU time of a record, pool", cpu_ms[1], unit=" ms"),
        Row(f"idle share of the slowest stage, {stages[0][0]}", statistics.median(idle for _, idle in stages)),
        Row("predicted ÷ measured time of a build four times as large", as_planned, 1.0),
    ]
    lengths = ", ".join(f"{s.wall_s:.0f}" for s in rays)
    note = f"{NUM_RECORDS} records of 64×64, encoded, 2 workers; steady part of {lengths} s; {circumstances()}"
    with capsys.disabled():
        print(*rays, *pools, f"predicted {predicted_s}, took {measured_s}", sep="\n")
        print(table("Ray Data beside a pool of processes", rows, note))
    assert len(rays) == ROUNDS
