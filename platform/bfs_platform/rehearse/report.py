"""What a rehearsal showed beside what the plan says: memory and time of its own size, and from these, of the whole recipe."""

from typing import Any

from bfs_platform.config import get
from bfs_platform.train.network import demand
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.plan import geometry
from bfs_platform.train.plan.cost import flops_per_sample, memory_per_worker
from bfs_platform.train.plan.geometry import Geometry
from bfs_platform.train.plan.machines import setting_of
from bfs_platform.train.plan.plan import Plan, make_plan
from bfs_platform.train.spec import TrainSpec

_GIB = 1024**3


def compared(recipe: str, seen: list[dict[str, Any]], rehearsed: Geometry, workers: int, on_gpu: bool = False) -> dict[str, Any]:
    """The stage's row of a rehearsal beside the plan: measured and planned memory of its geometry, and the full recipe at both rates.

    Memory of a process on a CPU holds the libraries and the text encoders too; on an accelerator (`on_gpu`) it is what the plan counts, and
    the full recipe's is told at the measured share of it as well.
    """
    spec = get(recipe)
    assert isinstance(spec, TrainSpec)
    assert isinstance(spec.network, SharingSpec)
    row = next(row for row in reversed(seen) if row.get("recipe") == recipe)
    memory = memory_per_worker(rehearsed, spec, workers, 1)
    flops = flops_per_sample(rehearsed).step(spec.gradient_checkpointing)
    tflops = flops / row["step_s"] / 1e12
    full, _ = planned(recipe)
    ratio = row["memory_bytes"] / memory.total
    return {
        "measured_bytes": row["memory_bytes"],
        "planned_bytes": memory.total,
        "measured_to_planned": ratio,
        "tflops_per_worker": tflops,
        "full_memory_bytes": full.memory.total,
        "full_memory_bytes_at_this_ratio": full.memory.total * ratio if on_gpu else None,
        "full_memory_limit_bytes": full.memory_limit_bytes,
        "full_step_s": full.step_s,
        "full_days": full.days,
        "full_step_s_at_this_rate": full.flops_per_step / full.world_size / (tflops * 1e12),
    }


def as_text(seen: list[dict[str, Any]], plan: dict[str, Any]) -> str:
    """Both for reading."""
    lines = []
    for row in seen:
        parts = [f"{row['wall_s']:7.1f} s"]
        if "peak_bytes" in row:
            parts.append(f"{row['cpu_s']:6.1f} s of CPU, {row['peak_bytes'] / _GIB:5.1f} GiB")
        if row.get("killed_after_s"):
            parts.append(f"killed after {row['killed_after_s']:.1f} s and continued")
        if "steps" in row:
            parts.append(f"steps {', '.join(map(str, row['steps']))}, {row['step_s']:.2f} s each")
        lines.append(f"{row['title']:26} {'  '.join(parts)}")
    held, planned = plan["measured_bytes"] / _GIB, plan["planned_bytes"] / _GIB
    full, limit = plan["full_memory_bytes"] / _GIB, plan["full_memory_limit_bytes"] / _GIB
    at_this_ratio = plan["full_memory_bytes_at_this_ratio"]
    lines += [
        f"memory of a worker         {held:.1f} GiB held, {planned:.1f} GiB planned for the model: {plan['measured_to_planned']:.2f} times",
        f"rate of a worker           {plan['tflops_per_worker']:.3f} TFLOP/s",
        f"the whole recipe           {full:.1f} of {limit:.1f} GiB per GPU, "
        f"{plan['full_step_s']:.2f} s a step as planned, {plan['full_days']:.2f} days",
        f"                           {plan['full_step_s_at_this_rate']:.0f} s a step at the rate of this machine",
    ]
    if at_this_ratio is not None:
        lines.append(f"                           {at_this_ratio / _GIB:.1f} GiB per GPU at the measured share of the plan")
    return "\n".join(lines)


def planned(recipe: str) -> tuple[Plan, str]:
    """The plan of a full-size recipe on the machines that its name says, and which accelerator that is."""
    spec = get(recipe)
    assert isinstance(spec, TrainSpec)
    at = setting_of(recipe, spec.num_workers)
    side = at.side or 512
    of = geometry.flux(side, spec.network) if isinstance(spec.network, SharingSpec) else demand.demand(spec, demand.flux(side))
    single = spec.model_copy(update={"num_workers": 1, "min_workers": 0})
    return make_plan(single, of, at.machine, at.nodes, at.gpus_per_node), at.machine.name
