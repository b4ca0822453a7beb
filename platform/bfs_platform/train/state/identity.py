"""Which run a checkpoint belongs to: what may change between the start of a run and its continuation, and what may not."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bfs_model.integrity import sha256_file
from bfs_platform.data.record import digest_of
from bfs_platform.train.network_spec import RgbaVaeSpec
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import engine, optimizers

# Settings that may change: they do not touch the weights, or only in the last bits of sums (how a batch is split).
_FREE = (
    "num_steps",
    "max_failures",
    "log_every_steps",
    "sample_every_steps",
    "validate_every_steps",
    "threads_per_worker",
    "checkpoint",
    "best",
    "experiment",
    "num_workers",
    "min_workers",
    "elastic_interval_s",
    "micro_batch_size",
    "use_gpu",
    "gradient_checkpointing",
)
_FREE_ZERO = ("stage", "offload_optimizer")
# Settings of networks that name a place. What lies there is compared by content: `weights_of`, and the base, which holds what it was grown
# from.
_PLACES = ("perceptual_folder", "grown_from")
_LPIPS = "perceptual_weights"
_NOT_RECORDED = object()


def identity_of(spec: TrainSpec) -> dict[str, Any]:
    """The part of a specification that a continued run must repeat. Rates that fall depend on where they end."""
    dumped = spec.model_dump(mode="json")
    values = {key: value for key, value in dumped.items() if key not in _FREE}
    if spec.optimizer.schedule != "constant":
        values["num_steps"] = spec.num_steps
    free = _FREE_ZERO if spec.optimizer.kind != optimizers.EIGHT_BITS else ("offload_optimizer",)  # its codes belong to shards
    values["zero"] = {key: value for key, value in values["zero"].items() if key not in free}
    values["network"] = {key: value for key, value in values["network"].items() if key not in _PLACES}
    return values


def inputs_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Content hashes of the base and the data sets of a run, from what its result will say of its training."""
    training = facts.get("training", {})
    return {"base": training.get("started_from"), "data": sorted(d["content_hash"] for d in training.get("datasets", []))}


def weights_of(spec: TrainSpec) -> dict[str, Any]:
    """Content hash of the weights that a perceptual loss is measured with, if they are LPIPS's: a part of the inputs of a run."""
    network = spec.network
    if not isinstance(network, RgbaVaeSpec) or network.perceptual != "lpips":
        return {}
    files = Path(network.perceptual_folder).expanduser().glob("*.safetensors")
    return {_LPIPS: digest_of(sorted(sha256_file(file) for file in files))}


def mismatch(spec: TrainSpec, world_size: int, inputs: dict[str, Any], directory: Path, body: dict[str, Any]) -> str:
    """Why a checkpoint cannot be continued by this run; empty when it can.

    A key that a checkpoint of an older version does not have counts as its default.
    """
    if engine.is_legacy(directory) and body.get("world_size") != world_size:
        return f"holds DeepSpeed shards of {body.get('world_size')} workers, which {world_size} cannot read"
    if spec.optimizer.kind == optimizers.EIGHT_BITS and body.get("world_size") != world_size:
        return f"holds moments in eight bits of {body.get('world_size')} workers, which {world_size} cannot read"
    consumed, recorded = body.get("inputs", {}), body.get("identity", {})
    for name, now in inputs.items():
        if name in consumed and consumed[name] != now:
            return f"holds a run on another {name}"
    if _LPIPS in inputs.keys() - consumed.keys():  # a checkpoint of an older version
        now = getattr(spec.network, "perceptual_folder", None)
        before = recorded.get("network", {}).get("perceptual_folder", now)
        if before != now:
            return f"knows its perceptual weights by network.perceptual_folder alone ({before}, not {now})"
    free = {key: value for key, value in spec.model_dump(mode="json").items() if key in _FREE}
    zero = {**{key: getattr(spec.zero, key) for key in _FREE_ZERO}, **recorded.get("zero", {})}
    try:
        then = identity_of(TrainSpec.model_validate({**free, **recorded, "zero": zero}))
    except ValidationError:
        return "holds a run of another specification"
    for key, value in _flat(identity_of(spec)).items():
        old = _flat(then).get(key, _NOT_RECORDED)
        if old != value and not (key == "num_steps" and _before_the_fall(spec, old, int(body.get("step", 0)))):
            return f"holds a run with another {key}" + ("" if old is _NOT_RECORDED else f" ({old}, not {value})")
    return ""


def _before_the_fall(spec: TrainSpec, num_steps: Any, step: int) -> bool:
    """Whether `step` steps of a linear schedule are the same at both lengths of the run."""
    lengths = (num_steps, spec.num_steps)
    if spec.optimizer.schedule != "linear" or not all(isinstance(length, int) for length in lengths):
        return False
    return step <= min(engine.decay_start(spec.optimizer, length) for length in lengths)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
