"""The plan of a run: does it fit, how long does it take, what does it cost."""

from dataclasses import asdict, dataclass
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.train.plan.cost import Memory, checkpoint_bytes, memory_per_worker, step_flops
from bfs_platform.train.plan.count import Counted
from bfs_platform.train.plan.geometry import Geometry
from bfs_platform.train.plan.machines import Machine
from bfs_platform.train.sample import order
from bfs_platform.train.spec import TrainSpec

_USABLE = 0.92  # of the memory: the rest goes to the driver and to fragmentation
_GIB = 1024**3


@dataclass(frozen=True)
class Plan:
    """Predictions for one run; seconds, bytes, days and dollars."""

    world_size: int
    batch_size: int
    micro_batch_size: int
    accumulation: int
    memory: Memory
    memory_limit_bytes: float
    flops_per_step: float
    compute_s: float
    communication_s: float
    step_s: float
    days: float
    cost_dollars: float
    checkpoint_bytes: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the memory summed up."""
        return {**asdict(self), "memory": {**asdict(self.memory), "total": self.memory.total}, "samples_per_s": self.samples_per_s}

    @property
    def samples_per_s(self) -> float:
        """Of the run: what fills up an uneven split of a batch is computed and not counted."""
        return self.batch_size / self.step_s


def make_plan(spec: TrainSpec, of: Geometry | Counted, machine: Machine, nodes: int, workers_per_node: int) -> Plan:
    """Plan `spec` on `nodes` × `workers_per_node` accelerators at its own global batch.

    Raises: `BadInput` with numbers and a change that would fit, when the run does not fit the accelerator's memory.
    """
    plan = predict(spec, of, machine, nodes, workers_per_node)
    limit = machine.memory_bytes * _USABLE
    if plan.memory.total > limit:
        need = f"needs {plan.memory.total / _GIB:.1f} GiB per worker and a {machine.name} has {limit / _GIB:.1f} GiB to give"
        remedy = _remedy(spec, of, machine, nodes, workers_per_node)
        raise BadInput("micro_batch_size", plan.micro_batch_size, need, remedy)
    return plan


def predict(spec: TrainSpec, of: Geometry | Counted, machine: Machine, nodes: int, workers_per_node: int) -> Plan:
    """As `make_plan`, whether it fits or not."""
    world_size = nodes * workers_per_node
    share = -(-spec.batch_size // world_size)
    micro = min(spec.micro_batch_size, share)
    accumulation = order.accumulation(spec.batch_size, world_size, micro)
    flops = step_flops(of, spec) * spec.batch_size
    # Every worker waits for the one with the largest share.
    compute_s = flops / spec.batch_size * share / (machine.tflops * 1e12)
    compute_s += accumulation * machine.micro_overhead_s + of.trainable_tensors * machine.tensor_s * (8 if spec.zero.stage == 3 else 1)
    communication_s = _communication_s(spec, of, machine, nodes, workers_per_node, accumulation)
    step_s = compute_s + communication_s
    days = step_s * spec.num_steps / 86400
    return Plan(
        world_size=world_size,
        batch_size=spec.batch_size,
        micro_batch_size=micro,
        accumulation=accumulation,
        memory=memory_per_worker(of, spec, world_size, micro),
        memory_limit_bytes=machine.memory_bytes * _USABLE,
        flops_per_step=flops,
        compute_s=compute_s,
        communication_s=communication_s,
        step_s=step_s,
        days=days,
        cost_dollars=days * 24 * machine.price_per_hour * world_size,
        checkpoint_bytes=checkpoint_bytes(of, spec),
    )


def _communication_s(
    spec: TrainSpec, of: Geometry | Counted, machine: Machine, nodes: int, workers_per_node: int, accumulation: int
) -> float:
    """Seconds of what cannot be hidden behind arithmetic: gradients and updated weights once per step; under ZeRO-3 the
    frozen weights for the forward and again for the backward pass of each micro-batch.
    """
    world_size = nodes * workers_per_node
    if world_size == 1:
        return 0.0
    bytes_per_s = machine.link_bytes_per_s if nodes > 1 else machine.inside_bytes_per_s
    size = 2 if spec.zero.bf16 else 4
    moved = 2.0 * of.trainable_params * size
    if spec.zero.stage == 3:
        moved += accumulation * 2 * of.base_params * size
    return moved * (world_size - 1) / world_size / bytes_per_s


def _remedy(spec: TrainSpec, of: Geometry | Counted, machine: Machine, nodes: int, workers_per_node: int) -> str:
    """The first change, cheapest first, with which the run fits."""
    smaller = [n for n in (8, 4, 2, 1) if n < spec.micro_batch_size]
    recompute = {"gradient_checkpointing": True}
    shard = {"zero": spec.zero.model_copy(update={"stage": 3})}
    offload = {"zero": spec.zero.model_copy(update={"stage": 3, "offload_optimizer": True})}
    changes: list[tuple[str, dict[str, Any]]] = [(f"micro_batch_size={n}", {"micro_batch_size": n}) for n in smaller]
    least = smaller[-1] if smaller else spec.micro_batch_size
    if not isinstance(of, Counted):  # what was counted, was counted for the other settings of its recipe
        changes += [(f"micro_batch_size={least} gradient_checkpointing=true", {"micro_batch_size": least, **recompute})]
        changes += [(f"{changes[-1][0]} zero.stage=3", {"micro_batch_size": least, **recompute, **shard})]
        changes += [(f"{changes[-1][0]} zero.offload_optimizer=true", {"micro_batch_size": least, **recompute, **offload})]
        four_bits = {"memory": "nf4", "zero": spec.zero.model_copy(update={"stage": 2, "offload_optimizer": True})}
        text = f"micro_batch_size={least} gradient_checkpointing=true memory=nf4 zero.stage=2 zero.offload_optimizer=true"
        changes += [(text, {"micro_batch_size": least, **recompute, **four_bits})]
    for text, change in changes:
        changed = spec.changed(**change)
        if changed is None:
            continue
        total = predict(changed, of, machine, nodes, workers_per_node).memory.total
        if total <= machine.memory_bytes * _USABLE:
            return f"use {' '.join('--set ' + part for part in text.split())} ({total / _GIB:.1f} GiB)"
    if isinstance(of, Counted):
        return (
            f"use the recipe for a smaller card, {'a smaller network.crop, ' if getattr(spec.network, 'crop', 0) else ''}or a larger card"
        )
    return "use an accelerator with more memory, or more of them with zero.stage=3"
