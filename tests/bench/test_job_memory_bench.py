"""What a build holds in memory where its job runs: a fixed sum, whatever the number of records.

BFS_BENCH_LISTED_RECORDS changes how many one time is (20,000).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from measuring import Row, circumstances, table

pytestmark = pytest.mark.bench

NUM_RECORDS = int(os.environ.get("BFS_BENCH_LISTED_RECORDS", "20000"))
PROGRAM = Path(__file__).with_name("job_memory.py")
CACHE_MIB = 16  # of the ledger: what a large build fills, and a small one does not


def test_memory_of_the_job_is_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the growth of the process at 1, 4 and 16 times the records, and the bytes on disk per record."""
    rows, peaks = [], []
    for factor in (1, 4, 16):
        folder, num_records = tmp_path / str(factor), NUM_RECORDS * factor
        folder.mkdir()
        done = subprocess.run([sys.executable, PROGRAM, folder, str(num_records)], check=True, capture_output=True, text=True)
        facts = json.loads(done.stdout)
        peaks.append(facts["peak_mib"])
        rows.append(Row(f"memory for {num_records:,} records", facts["peak_mib"], unit=" MiB"))
        rows.append(Row("on disk meanwhile, per record", (facts["disk"] + facts["file"]) / num_records, unit=" B"))
    rows.append(Row("growth from 4 × to 16 ×, per record more", (peaks[2] - peaks[1]) * 2**20 / (12 * NUM_RECORDS), unit=" B"))
    with capsys.disabled():
        print(table("Memory where the job of a build runs", rows, circumstances()))
    assert peaks[2] <= peaks[0] + 2 * CACHE_MIB
