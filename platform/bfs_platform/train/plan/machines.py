"""Accelerators: what they hold, how fast BFS trains on them, and what they cost."""

from dataclasses import dataclass

from bfs_model.errors import BadInput
from bfs_platform.config.registry import nearest


@dataclass(frozen=True)
class Machine:
    """One accelerator.

    `tflops`: what a training step sustains in bfloat16, not the peak. `link_bytes_per_s`: per accelerator between nodes;
    `inside_bytes_per_s`: within one. `price_per_hour`: in dollars, an order of magnitude for renting; give your own.
    `tensor_s`: host seconds per trainable tensor and step (DeepSpeed's hooks).
    """

    name: str
    memory_bytes: float
    tflops: float
    link_bytes_per_s: float
    inside_bytes_per_s: float
    price_per_hour: float
    tensor_s: float = 5e-5
    micro_overhead_s: float = 0.01


@dataclass(frozen=True)
class Setting:
    """What a recipe is for: its accelerator, machines, and the side of its pictures in pixels, where its name says one."""

    machine: Machine
    nodes: int
    gpus_per_node: int
    side: int | None


_PER_NODE = 8
_GIB = 1024**3
# `tflops`: NeMo AutoModel's LoRA fine-tuning sustains 402 to 423 on an H100 (its performance summary); an H200 has the same
# tensor cores. The others by the ratio of their dense bfloat16 peaks (989, 312, 362, 165) to it.
MACHINES = {
    m.name: m
    for m in (
        Machine("H200", 139 * _GIB, 400, 50e9, 450e9, 4.0),
        Machine("H100", 79 * _GIB, 400, 50e9, 450e9, 3.0),
        Machine("A100", 79 * _GIB, 126, 25e9, 300e9, 2.0),
        Machine("L40S", 44 * _GIB, 146, 12e9, 32e9, 1.2),
        Machine("RTX4090", 23 * _GIB, 67, 3e9, 25e9, 0.5),
    )
}


def machine(name: str) -> Machine:
    """The accelerator called `name`, in any case. Raises `BadInput` that lists the known ones."""
    found = {known.lower(): m for known, m in MACHINES.items()}.get(name.lower())
    if found is None:
        raise BadInput("gpu", name, "is not known here", nearest(name, MACHINES) + f"use one of {', '.join(MACHINES)}")
    return found


def setting_of(recipe: str, num_workers: int) -> Setting:
    """What the name of a recipe says, and its workers: as many machines of eight accelerators as hold these.

    Recipes at full size are for 80 GB (an H100) unless their name says 24; others name no machine, and get an H200.
    """
    gpu = "RTX4090" if "_1x24gb" in recipe else "H100" if recipe.startswith("flux_") else "H200"
    nodes = -(-max(num_workers, 1) // _PER_NODE)
    return Setting(machine(gpu), nodes, -(-max(num_workers, 1) // nodes), 1024 if recipe.endswith("_1024") else None)
