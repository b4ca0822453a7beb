"""Which run a checkpoint belongs to: what may change between the start of a run and its continuation, and what may not."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bfs_platform.train import engine
from bfs_platform.train.spec import TrainSpec

# Settings that may change: they do not touch the weights, or only in the last bits of sums (how a batch is split).
_FREE = (
    "num_steps",
    "max_failures",
    "log_every_steps",
    "sample_every_steps",
    "threads_per_worker",
    "checkpoint",
    "experiment",
    "num_workers",
    "min_workers",
    "elastic_interval_s",
    "micro_batch_size",
    "use_gpu",
    "gradient_checkpointing",
)
_FREE_ZERO = ("stage", "offload_optimizer")
_NOT_RECORDED = object()


def identity_of(spec: TrainSpec) -> dict[str, Any]:
    """The part of a specification that a continued run must repeat. The rate of a cosine depends on where it ends."""
    dumped = spec.model_dump(mode="json")
    values = {key: value for key, value in dumped.items() if key not in _FREE}
    if spec.optimizer.schedule == "cosine":
        values["num_steps"] = spec.num_steps
    values["zero"] = {key: value for key, value in values["zero"].items() if key not in _FREE_ZERO}
    return values


def inputs_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Content hashes of the base and the data sets of a run, from what its result will say of its training."""
    training = facts.get("training", {})
    return {"base": training.get("started_from"), "data": sorted(d["content_hash"] for d in training.get("datasets", []))}


def misfit(spec: TrainSpec, world_size: int, inputs: dict[str, Any], directory: Path, body: dict[str, Any]) -> str:
    """Why a checkpoint cannot be continued by this run; empty when it can.

    A key that a checkpoint of an older version does not have counts as its default.
    """
    if engine.is_legacy(directory) and body.get("world_size") != world_size:
        return f"holds DeepSpeed shards of {body.get('world_size')} workers, which {world_size} cannot read"
    for name, now in inputs.items():
        if body.get("inputs", inputs)[name] != now:
            return f"holds a run on another {name}"
    recorded = body.get("identity", {})
    free = {key: value for key, value in spec.model_dump(mode="json").items() if key in _FREE}
    zero = {**recorded.get("zero", {}), **{key: getattr(spec.zero, key) for key in _FREE_ZERO}}
    try:
        then = identity_of(TrainSpec.model_validate({**free, **recorded, "zero": zero}))
    except ValidationError:
        return "holds a run of another specification"
    for key, value in _flat(identity_of(spec)).items():
        old = _flat(then).get(key, _NOT_RECORDED)
        if old != value:
            return f"holds a run with another {key}" + ("" if old is _NOT_RECORDED else f" ({old}, not {value})")
    return ""


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
