"""Golden loss curves: ten steps of every objective, in double precision, with what made them.

`python tests/support/golden.py` rewrites them; `python tests/support/golden.py stage1 compositor` only those. A change that
is meant to have no numeric effect leaves them as they are; one that has an effect says so by rewriting them in the same commit.
"""

import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import double
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


def curve(name: str, ranks: Ranks, inputs: Path, output: Path, *changes: str) -> list[dict[str, Any]]:
    """Loss, its terms, gradient norm and rate of ten steps of an objective; `inputs` as for `double.prepare`."""
    recipe, stages = OBJECTIVES[name]
    ranks.run(double.config(output, recipe, inputs, stages, (*SETTINGS, *changes)), prepare=double.prepare(inputs))
    return [{key: value for key, value in line.items() if key not in _NOT_ARITHMETIC} for line in training.losses_of(output)]


def deviation(steps: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    """The largest difference of any figure of a curve, as a share of that figure or of the loss, whichever is larger.

    Figures that a curve reports beyond those expected do not count: they change nothing that was there.
    """
    assert [(s["step"], s["data"]) for s in steps] == [(s["step"], s["data"]) for s in expected]
    pairs = [
        (now[key], then[key], then["loss"]) for now, then in zip(steps, expected, strict=True) for key in then.keys() - {"step", "data"}
    ]
    return max(abs(now - then) / max(abs(then), abs(loss)) for now, then, loss in pairs)


def document(name: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What is committed of one objective."""
    recipe, stages = OBJECTIVES[name]
    made: dict[str, Any] = {"command": f"{COMMAND} {name}", "recipe": recipe, "settings": [*training.SHORT, *SETTINGS]}
    made |= {"stages": list(stages), "precision": "float64"}
    made |= {"processor": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability()}
    made |= {name: version(name) for name in ("torch", "diffusers", "deepspeed", "numpy")}
    return {"made_by": made, "steps": steps}


def main(names: list[str]) -> None:
    """Rewrite the curves of `names`, or all of them."""
    with tempfile.TemporaryDirectory() as scratch, Ranks(Path(scratch)) as ranks:
        root = Path(scratch)
        FOLDER.mkdir(exist_ok=True)
        for name in names or OBJECTIVES:
            steps = curve(name, ranks, root / "inputs", root / name)
            (FOLDER / f"{name}.json").write_text(json.dumps(document(name, steps), indent=1) + "\n", encoding="utf-8")
            print(f"{name}: loss {steps[0]['loss']:.6f} -> {steps[-1]['loss']:.6f}")


if __name__ == "__main__":
    main(sys.argv[1:])
