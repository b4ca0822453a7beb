"""The optimizers that a recipe can name, and in which form what each keeps goes into checkpoints."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bfs_model.errors import BadInput
from bfs_platform.train.spec import OptimizerSpec, TrainSpec
from bfs_platform.train.state.guard import Guard, guarded
from bfs_platform.train.state.muon import Muon
from bfs_platform.train.state.prodigy import Prodigy

EIGHT_BITS = "adamw8bit"
_KNOWN = "bitsandbytes 0.50"


@dataclass(frozen=True)
class StateKeys:
    """What an optimizer keeps of a parameter, or of this rank's flat shard of all.

    `whole`: float32, a number for each weight: written by parameter, and split again for whatever shards a continued run has.
    `start`: of these, the ones that begin as the weights themselves; the others begin as zero.
    `own`: codes and their scales, which belong to the blocks of one shard: they fit the same ranks and ZeRO stage only.
    `shared`: numbers of the whole run, entries of the parameter group.
    """

    whole: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


STATE_KEYS = {
    "adamw": StateKeys(whole=("exp_avg", "exp_avg_sq")),
    "muon": StateKeys(whole=("exp_avg", "exp_avg_sq")),
    EIGHT_BITS: StateKeys(own=("state1", "state2", "absmax1", "absmax2")),
    "prodigy": StateKeys(whole=("exp_avg", "exp_avg_sq", "s", "p0"), start=("p0",), shared=("d", "d_max", "d_numerator", "k")),
}


def make(parameters: Sequence[nn.Parameter], spec: TrainSpec) -> torch.optim.Optimizer:
    """The optimizer of a run, with its guard where it has one.

    Raises: `BadInput` when its library is not there.
    """
    o = spec.optimizer
    settings: dict[str, Any] = {"lr": o.lr, "betas": o.betas, "eps": o.eps, "weight_decay": o.weight_decay}
    kind: type[torch.optim.Optimizer] = torch.optim.AdamW
    if o.kind == "adamw" and spec.use_gpu:
        settings |= {"fused": True}  # one kernel for all weights
    if o.kind == "prodigy":
        kind, settings = Prodigy, {**settings, "d_coef": o.d_coef, "sharded": spec.zero.stage > 0}
    elif o.kind == "muon":
        kind = Muon
    elif o.kind == EIGHT_BITS:
        kind = _eight_bits(o)
    if spec.guard.norm_factor or spec.guard.loss_factor:
        kind, settings = guarded(kind), {**settings, "guard": Guard(spec.guard)}
    made = kind(parameters, **settings)
    made.state_keys = STATE_KEYS[o.kind]  # type: ignore[attr-defined]
    return made


def check(spec: OptimizerSpec) -> None:
    """Raises `BadInput` when this machine lacks the library of an optimizer."""
    if spec.kind == EIGHT_BITS and importlib.util.find_spec("bitsandbytes") is None:
        _refuse(spec, "needs bitsandbytes, which is not installed")


def of(engine: Any) -> Any:
    """The optimizer inside an engine, under whatever DeepSpeed puts around it."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def state_keys(engine: Any) -> StateKeys:
    """What an engine's optimizer keeps."""
    found: StateKeys = getattr(of(engine), "state_keys", STATE_KEYS["adamw"])
    return found


def shared(engine: Any) -> Tensor:
    """The numbers of the whole run, float64."""
    (group,) = of(engine).param_groups
    return torch.tensor([float(group[key]) for key in state_keys(engine).shared], dtype=torch.float64)


def restore_shared(engine: Any, values: Tensor) -> None:
    """The inverse of `shared`."""
    (group,) = of(engine).param_groups
    group.update({key: type(group[key])(value) for key, value in zip(state_keys(engine).shared, values.tolist(), strict=True)})


def begin(optimizer: Any, flat: Tensor, num_updates: Tensor) -> None:
    """Give a flat shard the state that the optimizer itself would make at its first update, after `num_updates` of them."""
    form: StateKeys = getattr(optimizer, "state_keys", STATE_KEYS["adamw"])
    if form.own:
        optimizer.init_state(optimizer.param_groups[0], flat, 0, 0)
        optimizer.state[flat]["step"] = int(num_updates)
    else:
        place = flat.device if optimizer.defaults.get("fused") else "cpu"  # where torch itself would count
        count = {} if form.shared else {"step": num_updates.float().to(place)}
        optimizer.state[flat] = {**count, **{key: first(form, key, flat) for key in form.whole}}


def first(form: StateKeys, key: str, weights: Tensor) -> Tensor:
    """What an optimizer keeps of `weights` under `key` before its first update."""
    return weights.detach().clone() if key in form.start else torch.zeros_like(weights)


def _eight_bits(spec: OptimizerSpec) -> type[torch.optim.Optimizer]:
    check(spec)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        _refuse(spec, f"needs a bitsandbytes that fits this torch ({error})")
    found: type[torch.optim.Optimizer] = AdamW8bit
    return found


def _refuse(spec: OptimizerSpec, rule: str) -> None:
    raise BadInput("optimizer.kind", spec.kind, rule, f"install it ({_KNOWN} is known to work), or use optimizer.kind=adamw")
