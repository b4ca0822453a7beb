"""Golden loss curves: ten steps of every objective, in full precision, with what made them.

`python tests/support/golden.py` rewrites them; `python tests/support/golden.py stage1 compositor` only those. A change that
is meant to have no numeric effect leaves them as they are; one that has an effect says so by rewriting them in the same commit.
"""

import hashlib
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import training
from ranks import Ranks

FOLDER = Path(__file__).resolve().parent.parent / "bfs_platform" / "train" / "golden"
COMMAND = "python tests/support/golden.py"
# Objective: its recipe, and the stages of the sets that it trains on.
OBJECTIVES: dict[str, tuple[str, tuple[int, ...]]] = {
    "stage1": ("tabletop_stage1", (1,)),
    "stage2": ("tabletop_stage2", (1, 2)),
    "compositor": ("tabletop_compositor", (1,)),
    "rgba_vae": ("tabletop_rgba_vae", (1,)),
    "rgb_vae": ("tabletop_rgb_vae", (2,)),
    "backbone": ("tabletop_backbone", (2,)),
}
SETTINGS = ("num_steps=10", "num_workers=0", "threads_per_worker=1", "optimizer.lr=1e-4", "checkpoint.every_steps=1000")
# Of what a step reports, what is arithmetic: the rest are times and sizes.
_NOT_ARITHMETIC = {"step_s", "data_wait_s", "samples_per_s", "num_workers", "memory_bytes", "tflops_per_worker", "checkpoint_s"}
_NOT_ARITHMETIC |= {"missed_checkpoints"}


def curve(name: str, ranks: Ranks, base: Path, datasets: dict[int, Path], output: Path) -> list[dict[str, Any]]:
    """Loss, its terms, gradient norm and rate of ten steps of an objective."""
    recipe, stages = OBJECTIVES[name]
    ranks.run(training.config(output, recipe, base, {stage: datasets[stage] for stage in stages}, SETTINGS))
    return [{key: value for key, value in line.items() if key not in _NOT_ARITHMETIC} for line in training.losses_of(output)]


def machine() -> dict[str, str]:
    """What the last bits of a sum depend on: the processor and the libraries."""
    # Virtual machines give several processors one name; what the name leaves out, family, model and instructions, tell.
    lines = dict(line.split(":", 1) for line in reversed(_cpuinfo()) if ":" in line)
    known = [value.strip() for key, value in lines.items() if key.strip() in ("model name", "cpu family", "model", "stepping", "flags")]
    digest = hashlib.sha256(" ".join(sorted(known)).encode()).hexdigest()[:16]
    libraries = {name: version(name) for name in ("torch", "diffusers", "deepspeed", "numpy")}
    return {"processor": f"{platform.machine()} {digest}", "capability": torch.backends.cpu.get_cpu_capability(), **libraries}


def document(name: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What is committed of one objective."""
    recipe, stages = OBJECTIVES[name]
    made = {"command": f"{COMMAND} {name}", "recipe": recipe, "settings": [*training.SHORT, *SETTINGS], "stages": list(stages)}
    return {"made_by": made, "machine": machine(), "steps": steps}


def main(names: list[str]) -> None:
    """Rewrite the curves of `names`, or all of them."""
    with tempfile.TemporaryDirectory() as scratch, Ranks(Path(scratch)) as ranks:
        root = Path(scratch)
        base = training.write_base(root / "base")
        datasets = {stage: training.write_set(root / f"stage{stage}", stage, base) for stage in (1, 2)}
        FOLDER.mkdir(exist_ok=True)
        for name in names or OBJECTIVES:
            steps = curve(name, ranks, base, datasets, root / name)
            (FOLDER / f"{name}.json").write_text(json.dumps(document(name, steps), indent=1) + "\n", encoding="utf-8")
            print(f"{name}: loss {steps[0]['loss']:.6f} -> {steps[-1]['loss']:.6f}")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])
