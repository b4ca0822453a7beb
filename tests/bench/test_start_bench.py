"""How long it takes until something happens: the command line and the imports that it rests on."""

import json
import resource
import statistics
import subprocess
import sys
import time

import pytest
from PIL import Image

pytestmark = pytest.mark.bench

BFS = "from bfs_platform.cli.main import main; main()"
# What is started, and the median wall time in seconds that it may take on an idle machine of two cores.
STARTS = {
    "bfs --help": ([BFS, "--help"], 0.5),
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


# `bfs generate` as its script runs it, with a clock around the call of the pipeline; what it prints goes to a log, so this to a file.
GENERATE = """
import json, pathlib, time
from bfs_platform.cli import main, models
load = models.load_model
def timed(name, **settings):
    loaded = load(name, **settings)
    draw = type(loaded.pipeline).__call__
    def call(self, *args, **kwargs):
        started = time.perf_counter(), time.process_time()
        drawn = draw(self, *args, **kwargs)
        seconds = [time.perf_counter() - started[0], time.process_time() - started[1]]
        pathlib.Path("drawing.json").write_text(json.dumps(seconds))
        return drawn
    type(loaded.pipeline).__call__ = call
    return loaded
models.load_model = timed
main.main()
"""


def test_cold_generate(bare_env, tmp_path, capsys) -> None:
    """Prints five cold calls beside the drawing inside them. By CPU time, a call is about 1.6 times its drawing."""
    Image.new("RGB", (320, 240), (150, 140, 130)).save(tmp_path / "B.png")
    arguments = [
        "generate",
        "--background",
        "B.png",
        "--box",
        "40,60,200,220",
        "--prompt",
        "a large red glossy plastic sphere",
        "--seed",
        "7",
    ]
    rows = []
    for _ in range(5):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", GENERATE, *arguments, "--output", "layer.png"]
        subprocess.run(command, env=bare_env, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300)
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        drawing = json.loads((tmp_path / "drawing.json").read_text())
        rows.append((wall_s, drawing[0], cpu_s, drawing[1]))
    with capsys.disabled():
        print("\n  call  drawing  CPU of call  CPU of drawing [s]")
        for row in rows:
            print("{:6.2f}  {:7.2f}  {:11.2f}  {:14.2f}".format(*row))
    assert statistics.median(cpu / drawn for _, _, cpu, drawn in rows) < 1.7
