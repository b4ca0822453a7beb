"""DeepSpeed around a module: wrapped with only its trainable parameters, saved and loaded without the frozen ones."""

import contextlib
import logging
import math
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bfs_platform.train.spec import OptimizerSpec, TrainSpec

_BUCKET = 10**7  # elements per reduction; trainable sets here are small, and the default of 5e8 only wastes memory
_TAG = "deepspeed"


def wrap(module: nn.Module, spec: TrainSpec) -> Any:
    """Initialise DeepSpeed for this rank; the process group must exist. Returns the engine.

    Raises: `RuntimeError` when the wrapper changed which parameters are trainable.
    """
    deepspeed = _deepspeed()
    names = trainable_names(module)
    parameters = [p for p in module.parameters() if p.requires_grad]
    o = spec.optimizer
    adamw = torch.optim.AdamW(parameters, lr=o.lr, betas=o.betas, eps=o.eps, weight_decay=o.weight_decay)
    engine, *_ = deepspeed.initialize(model=module, model_parameters=parameters, optimizer=adamw, config=_config(spec))
    if trainable_names(engine.module) != names:
        raise RuntimeError("DeepSpeed changed the set of trainable parameters")
    return engine


def trainable_names(module: nn.Module) -> list[str]:
    """Names of the parameters that are optimised."""
    return [name for name, p in module.named_parameters() if p.requires_grad]


def learning_rate(spec: OptimizerSpec, step: int, num_steps: int) -> float:
    """The rate of a step, a pure function of it: linear warm-up, then constant or half a cosine down to a tenth."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    if spec.schedule == "constant":
        return spec.lr
    progress = (step - spec.warmup_steps) / max(num_steps - spec.warmup_steps, 1)
    return spec.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(engine: Any, rate: float) -> None:
    """Give all parameter groups this rate."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def weights(engine: Any) -> dict[str, Tensor]:
    """Full trainable weights in float32 on the CPU, the same on every rank. A collective call."""
    from deepspeed.utils import safe_get_full_fp32_param

    out = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            sharded = hasattr(parameter, "_hp_mapping") or hasattr(parameter, "ds_id")
            full = safe_get_full_fp32_param(parameter) if sharded else None
            out[name] = (parameter.data if full is None else full).detach().float().cpu().clone()
    return out


def save(engine: Any, directory: Path, step: int) -> None:
    """Write this rank's part of the state after `step` steps. All ranks call it."""
    with _quiet():
        engine.save_checkpoint(str(directory), tag=_TAG, client_state={"step": step}, exclude_frozen_parameters=True, save_latest=False)


def load(engine: Any, directory: Path) -> int:
    """Restore what `save` wrote and return its number of steps. The caller has verified the directory."""
    with _quiet():
        path, state = engine.load_checkpoint(str(directory), tag=_TAG, load_module_strict=False)
    if path is None:
        raise RuntimeError(f"DeepSpeed found no state in {directory}")
    return int(state["step"])


def _config(spec: TrainSpec) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": spec.zero.stage, "overlap_comm": spec.use_gpu, "contiguous_gradients": True}
    zero |= {"reduce_bucket_size": _BUCKET, "allgather_bucket_size": _BUCKET}
    if spec.zero.stage == 3:
        zero |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": _BUCKET}
    if spec.zero.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": spec.use_gpu}
    return {
        "train_micro_batch_size_per_gpu": spec.micro_batch_size,
        "gradient_accumulation_steps": spec.accumulation,
        "gradient_clipping": spec.optimizer.clip_norm,
        "bf16": {"enabled": spec.zero.bf16},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def _deepspeed() -> Any:
    """Import DeepSpeed. On the CPU it would probe for a compiler and build operators for a minute; gloo and torch serve."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed

    if not torch.cuda.is_available():
        from deepspeed.ops.op_builder.all_ops import ALL_OPS

        vars(deepspeed.ops)["__compatible_ops__"] = dict.fromkeys([*ALL_OPS, "deepspeed_not_implemented"], False)
    return deepspeed


@contextlib.contextmanager
def _quiet() -> Any:
    logger = logging.getLogger("DeepSpeed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def barrier() -> None:
    """Wait for all ranks."""
    if dist.is_initialized():
        dist.barrier()


def all_true(flag: bool) -> bool:
    """Whether `flag` holds on every rank. A collective call."""
    if not dist.is_initialized():
        return flag
    count = torch.tensor([int(flag)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(count, op=dist.ReduceOp.MIN)
    return bool(count.item())
