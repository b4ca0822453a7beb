"""The state of a training run, by parameter name: float32 masters, what the optimizer keeps of them, and the average of the weights
where one is kept, in safetensors.

DeepSpeed's own checkpoints are pickles of one ZeRO stage at one world size. Here every rank writes whole parameters, those
that it owns by position, and reads whichever elements its shard needs, so that a run continues bitwise at the same world
size and stage, and at another one too; codes in eight bits belong to the shard of their rank, and are read by it alone. What is
trained is small (LoRAs and mixers); the frozen base is never written.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bfs_platform.train.state import optimizers
from bfs_platform.train.state.guard import guard_of

MASTER, EMA, UPDATES, GUARD, SHARED, OWN = "master", "ema", "updates", "guard", "shared", "own"


def trainable(engine: Any) -> list[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that is optimised, in the module's order."""
    return [(name, p) for name, p in engine.module.named_parameters() if p.requires_grad]


def snapshot(engine: Any, num_steps: int) -> dict[str, Tensor]:
    """A copy of this rank's share of the state. A collective call: all ranks gather each parameter in turn, its owner keeps it."""
    rank, world_size = _place()
    guard = guard_of(engine)
    tensors = {f"{OWN}/{rank}/{name}": value.detach().cpu().clone() for name, value in _own(engine)}
    if rank == 0:
        tensors[UPDATES] = torch.tensor(num_steps - (guard.num_skipped if guard else 0))
        tensors |= {GUARD: guard.state()} if guard else {}
        tensors |= {SHARED: optimizers.shared(engine)} if optimizers.state_keys(engine).shared else {}
    keys = (MASTER, *optimizers.state_keys(engine).whole, *([EMA] if averages(engine) else []))
    for position, (name, parameter) in enumerate(trainable(engine)):
        for key in keys:
            full = _full(engine, parameter, key)
            if position % world_size == rank:
                tensors[f"{key}/{name}"] = full
    return tensors


def share(directory: Path, rank: int, world_size: int) -> Path:
    """The file that holds a rank's share."""
    return directory / f"state-{rank:05d}-of-{world_size:05d}.safetensors"


def write(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a share: under its name it is whole. Raises: `OSError` when the disk is full or fails."""
    partial = path.with_name(f".{path.name}")
    save_file(tensors, partial)
    os.rename(partial, path)


def load(engine: Any, directory: Path) -> None:
    """Restore what `save` wrote, at any world size and ZeRO stage. The caller has verified the directory.

    Raises: `RuntimeError` when the state is not that of the engine's trainable parameters.
    """
    parts = _Parts(directory)
    parameters, wanted = trainable(engine), optimizers.state_keys(engine)
    averaged = any(name.startswith(f"{EMA}/") for name in parts.names)
    keys = (MASTER, *wanted.whole, *([EMA] if averaged else []))
    expected = {f"{key}/{name}" for name, _ in parameters for key in keys} | {UPDATES} | ({SHARED} if wanted.shared else set())
    found = {name for name in parts.names if name != GUARD and not name.startswith(f"{OWN}/")}
    if expected != found:
        raise RuntimeError(f"{directory} holds the state of other parameters: {', '.join(sorted(expected ^ found)[:3])}")
    allocate(engine, parts.read(UPDATES), averaged)
    for name, parameter in parameters:
        for key in keys:
            _put(engine, parameter, key, parts.read(f"{key}/{name}"))
    _spread(engine)
    for name, value in _own(engine):
        value.copy_(parts.read(f"{OWN}/{_place()[0]}/{name}"))
    if wanted.shared:
        optimizers.restore_shared(engine, parts.read(SHARED))
    if (guard := guard_of(engine)) is not None and GUARD in parts.names:
        guard.restore(parts.read(GUARD))


def weights(engine: Any) -> dict[str, Tensor]:
    """What a run results in: the full trainable weights, averaged where an average is kept, in float32 on the CPU, the same on
    every rank. A collective call.
    """
    key = EMA if averages(engine) else MASTER
    return {name: _full(engine, parameter, key) for name, parameter in trainable(engine)}


def averages(engine: Any) -> bool:
    """Whether an average of the weights is kept."""
    return all(EMA in values for _, values in flat_states(engine))


@contextlib.contextmanager
def lent(engine: Any) -> Iterator[None]:
    """Within, other weights may be loaded into the module that is trained; afterwards it has its own again, bit by bit."""
    own = [(p, p.detach().clone()) for _, p in trainable(engine) if not hasattr(p, "ds_id")]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in own:
                parameter.copy_(values)


def allocate(engine: Any, num_updates: Tensor, averaged: bool) -> None:
    """Optimizers make their state at the first update; where it is restored, or holds an average too, it must be there before."""
    optimizer = optimizers.of(engine)
    for flat in _flat_masters(engine):
        optimizers.begin(optimizer, flat, num_updates)
        if averaged:
            optimizer.state[flat][EMA] = torch.zeros_like(flat)
    if hasattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state"):
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def flat_states(engine: Any) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """What the optimizer itself sees, this rank's share of it, each with its state."""
    optimizer = optimizers.of(engine)
    for flat in _flat_masters(engine):
        yield flat, optimizer.state.get(flat, {})


def _own(engine: Any) -> Iterator[tuple[str, Tensor]]:
    """Codes and scales of this rank's shards, by name."""
    for number, (_, values) in enumerate(flat_states(engine)):
        for key in optimizers.state_keys(engine).own:
            if key in values:
                yield f"{number}/{key}", values[key]


class _Parts:
    """Tensors of all files of a state, read one at a time."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, Any] = {}
        for path in sorted(directory.glob("state-*.safetensors")):
            file = safe_open(path, "pt")
            self._files |= dict.fromkeys(file.keys(), file)
        self.names = set(self._files)

    def read(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)


def _full(engine: Any, parameter: nn.Parameter, key: str) -> Tensor:
    """The whole tensor of one parameter, on the CPU; before its first update, what the optimizer would begin with."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if not _is_sharded(parameter):
        own = engine.optimizer.state.get(parameter, {})
        if key == MASTER:
            full = parameter.data
        else:
            full = own[key] if key in own else optimizers.first(optimizers.state_keys(engine), key, parameter)
    elif key == MASTER:
        full = safe_get_full_fp32_param(parameter)
    else:
        full = safe_get_full_optimizer_state(parameter, key)
    return full.detach().float().cpu().clone()


def _put(engine: Any, parameter: Any, key: str, value: Tensor) -> None:
    """Copy this rank's elements of a whole tensor to where its optimizer keeps them."""
    if hasattr(parameter, "ds_id"):
        shard = parameter.ds_tensor.numel()
        padded = torch.nn.functional.pad(value.flatten(), (0, shard * _place()[1] - value.numel()))
        own = padded.narrow(0, shard * _place()[0], shard)
        parameter._z3_optimizer.set_local_hp_param(own, parameter, None if key == MASTER else key)
    elif hasattr(parameter, "_hp_mapping"):
        parameter.set_full_hp_param(value, None if key == MASTER else key)
    else:
        target = parameter.data if key == MASTER else engine.optimizer.state[parameter][key]
        target.copy_(value.view_as(target))


def _flat_masters(engine: Any) -> Iterator[Tensor]:
    """What the optimizer itself sees: parameters, or this rank's flat float32 partitions of them."""
    for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
        if hasattr(engine.optimizer, name):
            yield from getattr(engine.optimizer, name)
            return
    for group in engine.optimizer.param_groups:
        yield from group["params"]


def _spread(engine: Any) -> None:
    """Give the weights that the forward pass reads the values of the restored masters, on all ranks."""
    optimizer = engine.optimizer
    if hasattr(optimizer, "update_lp_params"):
        optimizer.update_lp_params()
    elif hasattr(optimizer, "fp16_partitioned_groups_flat"):
        for low, high in zip(optimizer.fp16_partitioned_groups_flat, optimizer.fp32_partitioned_groups_flat, strict=True):
            low.data.copy_(high.data)


def _is_sharded(parameter: nn.Parameter) -> bool:
    return hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")


def _place() -> tuple[int, int]:
    """Rank and world size."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
