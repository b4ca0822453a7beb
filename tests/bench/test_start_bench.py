"""How long it takes until something happens: the command line and the imports that it rests on."""

import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.bench

BFS = "from bfs_platform.cli.main import main; main()"
# What is started, and the median wall time in seconds that it may take on an idle machine of two cores.
STARTS = {
    "bfs --help": ([BFS, "--help"], 1.0),
    "bfs recipes": ([BFS, "recipes"], 2.0),
    "import bfs_model": (["import bfs_model"], 0.5),
    "import bfs_model.BFSPipeline": (["from bfs_model import BFSPipeline"], 30.0),
}


@pytest.mark.parametrize("name", STARTS)
def test_start(name, bare_env, capsys) -> None:
    """Prints the median of five starts and holds it against its budget."""
    (code, *arguments), budget_s = STARTS[name]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *arguments], env=bare_env, check=True, capture_output=True, timeout=120)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    with capsys.disabled():
        print(f"\n{name:<30} {median:6.2f} s  (budget {budget_s:.1f} s, from {min(seconds):.2f} to {max(seconds):.2f})")
    assert median < budget_s
