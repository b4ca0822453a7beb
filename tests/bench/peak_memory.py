"""By how much a process grows over training steps, at most: run as a program, so that nothing else has grown it before.

`python tests/bench/peak_memory.py BASE DATASET KEY=VALUE …` prints the bytes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NUM_STEPS = 2


def of_a_run(base: Path, dataset: Path, changes: tuple[str, ...]) -> int:
    """Bytes, measured in a process of its own that gives freed memory back at once."""
    # Without it, what the allocator keeps for later would count as held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(base), str(dataset), *changes]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


def main(base: str, dataset: str, *changes: str) -> None:
    """Train a few steps of stage 1 and print the growth."""
    import numpy as np

    from bfs_platform.config import resolve
    from bfs_platform.data.shard.reading import open_dataset
    from bfs_platform.train.launch.launch import _single_rank_group
    from bfs_platform.train.network.sharing import SharingTask
    from bfs_platform.train.spec import TrainSpec
    from bfs_platform.train.state import engine

    _single_rank_group(use_gpu=False)
    spec = resolve("tabletop_stage1", ["num_workers=1", "zero.stage=1", *changes], TrainSpec)
    settings: Any = spec.network
    opened = open_dataset(dataset)
    task = SharingTask(spec, settings, base, {"synthetic": opened})
    # Encoders and VAEs, which the plan leaves out, lie in memory with the backbone: count from the bare process to the base alone.
    module = task.module
    frozen = sum(p.numel() * p.element_size() for p in module.parameters() if not p.requires_grad)
    before = _bytes("VmRSS")
    wrapped = engine.wrap(module, spec, 1)
    for step in range(NUM_STEPS):
        loss, _ = wrapped(*task.batch("synthetic", np.arange(spec.micro_batch_size) % len(opened), step)[1])
        wrapped.backward(loss)
        wrapped.step()
    print(_bytes("VmHWM") - before + frozen)


def _bytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
