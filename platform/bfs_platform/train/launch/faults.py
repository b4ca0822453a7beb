"""Faults that a training run explains in one line: what does not fit, and what to do about it."""

import contextlib
from collections.abc import Iterator

import torch

from bfs_model.errors import BadInput
from bfs_platform.train.report.meter import peak_memory_bytes
from bfs_platform.train.spec import TrainSpec

_GIB = 1024**3
_SAYINGS = ("out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc")


@contextlib.contextmanager
def explained(spec: TrainSpec, world_size: int) -> Iterator[None]:
    """Turn exhausted memory into advice with numbers. Raises `BadInput` for it; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(spec, world_size) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that no memory is left, of the host or of an accelerator."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(saying in str(error) for saying in _SAYINGS)


def out_of_memory(spec: TrainSpec, world_size: int) -> BadInput:
    """What to change, cheapest first. The result of a run does not depend on any of it, but for the last bits of sums."""
    peak, limit = peak_memory_bytes(), memory_limit_bytes()
    remedies = []
    smaller = [n for n in range(1, spec.micro_batch_size) if spec.batch_size % (world_size * n) == 0]
    if smaller:
        remedies.append(f"micro_batch_size={smaller[-1]}")
    sharded, offloaded = (spec.zero.model_copy(update=change) for change in ({"stage": 3}, {"offload_optimizer": True}))
    if not spec.gradient_checkpointing and spec.network.kind in ("sharing", "shadow"):
        remedies.append("gradient_checkpointing=true")
    if spec.zero.stage < 3 and world_size > 1 and spec.changed(zero=sharded):
        remedies.append("zero.stage=3 (shards the frozen base too)")
    if not spec.zero.offload_optimizer and spec.changed(zero=offloaded):
        remedies.append("zero.offload_optimizer=true")
    held = f"does not fit: {peak / _GIB:.1f} GiB were held of {limit / _GIB:.1f} GiB"
    tried = f"try {', then '.join(remedies)}, or" if remedies else "use"
    return BadInput("micro_batch_size", spec.micro_batch_size, held, f"{tried} a larger machine")


def memory_limit_bytes() -> int:
    """Memory of this worker's accelerator, or of the host where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    import psutil

    return int(psutil.virtual_memory().total)
