"""DeepSpeed around a module: wrapped with only its trainable parameters, saved and loaded without the frozen ones."""

import contextlib
import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.attention import sdpa_kernel

from bfs_model import integrity
from bfs_platform.train.sample import order
from bfs_platform.train.spec import OptimizerSpec, TrainSpec
from bfs_platform.train.state import compiling, kernels, optimizers, state

_BUCKET = 10**7  # elements per reduction; trainable sets here are small, and the default of 5e8 only wastes memory
_LEGACY = "deepspeed"  # the folder in which checkpoints of version 0.1 hold DeepSpeed's own files


def wrap(module: nn.Module, spec: TrainSpec, world_size: int, attention: str = "") -> Any:
    """Initialise DeepSpeed for this rank; the process group of `world_size` ranks must exist. Returns the engine.

    `attention` is the kernel that was measured to be the fastest, where one was.

    Raises: `BadInput` when the optimizer's library or a compiler is missing; `RuntimeError` when the wrapper changed
        which parameters are trainable.
    """
    deepspeed = _deepspeed()
    names = trainable_names(module)
    compiling.check(spec.compile)
    kernels.use_backend(module, spec.attention_backend)
    if spec.compile == "blocks":
        compiling.compile_blocks(module)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = optimizers.make(parameters, spec)
    engine, *_ = deepspeed.initialize(model=module, model_parameters=parameters, optimizer=optimizer, config=_config(spec, world_size))
    if trainable_names(engine.module) != names:
        raise RuntimeError("DeepSpeed changed the set of trainable parameters")
    if spec.autocast:  # inside the module: on accelerators DeepSpeed switches off what is on around it
        # Norms of bfloat16 by float32 weights are not fused: torch says so once, and it is meant.
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
        device_type = torch.device(engine.device).type
        engine.module.forward = torch.autocast(device_type, torch.bfloat16)(engine.module.forward)
    kernel = attention or spec.attention
    if (
        kernel in kernels.KERNELS
    ):  # what runs backwards is decided here as well; blocks that are computed anew are so inside the backward pass
        engine.module.forward = sdpa_kernel(kernels.KERNELS[kernel])(engine.module.forward)
        engine.backward = sdpa_kernel(kernels.KERNELS[kernel])(engine.backward)
    return engine


def trainable_names(module: nn.Module) -> list[str]:
    """Names of the parameters that are optimised."""
    return [name for name, p in module.named_parameters() if p.requires_grad]


def learning_rate(spec: OptimizerSpec, step: int, num_steps: int) -> float:
    """The rate of a step, a pure function of it: linear warm-up, then as the schedule says."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    if spec.schedule == "constant":
        return spec.lr
    if spec.schedule == "linear":
        fall = num_steps - decay_start(spec, num_steps)
        return spec.lr * min(1.0, (num_steps - step) / fall)
    progress = (step - spec.warmup_steps) / max(num_steps - spec.warmup_steps, 1)
    return spec.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def decay_start(spec: OptimizerSpec, num_steps: int) -> int:
    """The first step at which the rate of a `linear` schedule falls."""
    return num_steps - max(1, round(spec.decay_share * num_steps))


def set_learning_rate(engine: Any, rate: float) -> None:
    """Give all parameter groups this rate."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def unsharded_norm(engine: Any) -> float | None:
    """Norm of a whole batch's gradient before its update, under ZeRO stage 0, where DeepSpeed does not tell it afterwards."""
    if engine.zero_optimization_stage() > 0 or not engine.is_gradient_accumulation_boundary():
        return None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else None


def global_norm(engine: Any) -> float:
    """Norm of a whole batch's gradient, as DeepSpeed knows it from just before the update on; on every rank the same."""
    norm = getattr(engine.optimizer, "_global_grad_norm", None)
    return float(engine.get_global_grad_norm() or 0.0) if norm is None else float(norm)


def load(engine: Any, directory: Path) -> int:
    """Restore the checkpoint in `directory` and return its number of steps. The caller has verified the directory."""
    if is_legacy(directory):
        with _quiet():
            path, client = engine.load_checkpoint(str(directory), tag=_LEGACY, load_module_strict=False)
        if path is None:
            raise RuntimeError(f"DeepSpeed found no state in {directory}")
        return int(client["step"])
    state.load(engine, directory)
    return int(integrity.read_manifest(directory)["body"]["step"])


def is_legacy(directory: Path) -> bool:
    """Whether a checkpoint holds DeepSpeed's own files, which fit one world size and ZeRO stage only."""
    return (directory / _LEGACY).exists()


def _config(spec: TrainSpec, world_size: int) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": spec.zero.stage, "overlap_comm": spec.use_gpu, "contiguous_gradients": True}
    zero |= {"reduce_bucket_size": _BUCKET, "allgather_bucket_size": _BUCKET}
    if spec.zero.stage == 3:
        zero |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": _BUCKET}
    if spec.zero.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": spec.use_gpu}
    return {
        "train_micro_batch_size_per_gpu": spec.micro_batch_size,
        "gradient_accumulation_steps": order.accumulation(spec.batch_size, world_size, spec.micro_batch_size),
        "gradient_clipping": spec.optimizer.clip_norm,
        "bf16": {"enabled": spec.zero.bf16},
        # Sums of many small gradients lose their last bits in bfloat16.
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # The optimizer is that of the recipe also where its state lies in host memory: the same arithmetic everywhere.
        "zero_force_ds_cpu_optimizer": False,
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
    count = torch.tensor([int(flag)], device=_device())
    dist.all_reduce(count, op=dist.ReduceOp.MIN)
    return bool(count.item())


def gathered(value: Any) -> list[Any]:
    """The value of every rank, in order. A collective call, for small plain data."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def total(values: dict[str, float]) -> dict[str, float]:
    """Sums over all ranks, which must give the same names. A collective call."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    sums = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
    dist.all_reduce(sums)
    return dict(zip(values, sums.tolist(), strict=True))


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
