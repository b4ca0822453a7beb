"""The kernel of attention, chosen by measurement where a run starts: which one is the fastest depends on device, precision and length.

Kernels sum in other orders, so a run keeps the one that it began with: the table lies beside its checkpoints, and a continued run on the
same kind of device reads it instead of measuring anew.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bfs_model.errors import BadInput
from bfs_model.files import write_whole

TABLE = "attention.json"
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "math": SDPBackend.MATH,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
_ON_CPU = ("flash", "math")
_ROUNDS = 5


class Shape(NamedTuple):
    """What attention is of: queries [batch, heads, tokens, head_dim] in a precision."""

    batch: int
    heads: int
    tokens: int
    head_dim: int
    dtype: str


def chosen(output: Path, shape: Shape, device: torch.device) -> dict[str, Any]:
    """The table of a run: read from `output` where it is of this device and shape, else measured and written there.

    Returns: `device`, `shape`, `ms` (milliseconds of a forward and a backward pass, by kernel), and the fastest as `kernel`.
    """
    path, name = output / TABLE, _name_of(device)
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known["device"] == name and known["shape"] == list(shape):
            return known
    times = measured(shape, device)
    table = {"device": name, "shape": list(shape), "ms": times, "kernel": min(times, key=lambda kernel: times[kernel])}
    write_whole(path, (json.dumps(table, indent=1) + "\n").encode())
    return table


def measured(shape: Shape, device: torch.device) -> dict[str, float]:
    """Milliseconds of a forward and a backward pass with each kernel that can do it here: the least of a few, taken in turns."""
    arms = {name: _pass(kernel, shape, device) for name, kernel in KERNELS.items() if device.type != "cpu" or name in _ON_CPU}
    able = {name: arm for name, arm in arms.items() if _works(arm)}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(_ROUNDS):
        for name, arm in able.items():
            began = time.perf_counter()
            arm()
            _synchronise(device)
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: round(min(values), 4) for name, values in times.items()}


def use_backend(module: nn.Module, name: str) -> None:
    """Have attention inside `module` computed by a backend that diffusers knows by `name`; nothing where that is empty.

    Raises: `BadInput` for a name that is none, or whose library is not there.
    """
    if not name:
        return
    from diffusers.models.modeling_utils import ModelMixin

    for model in module.modules():
        if isinstance(model, ModelMixin):
            try:
                model.set_attention_backend(name)
            except (ValueError, RuntimeError, ImportError) as error:
                remedy = "install it, or leave the key out for torch's own kernels"
                raise BadInput("attention_backend", name, f"is not to be had here ({' '.join(str(error).split())})", remedy) from None


def as_text(table: dict[str, Any]) -> str:
    """The table in a line."""
    batch, heads, tokens, head_dim, dtype = table["shape"]
    times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in sorted(table["ms"].items(), key=lambda item: item[1]))
    return f"attention of {batch}×{heads} heads, {tokens} tokens of {head_dim} in {dtype} on {table['device']}: {times}"


def _pass(kernel: SDPBackend, shape: Shape, device: torch.device) -> Callable[[], None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = (3, shape.batch, shape.heads, shape.tokens, shape.head_dim)
        query, key, value = (x.to(device, getattr(torch, shape.dtype)).requires_grad_() for x in torch.randn(size))

    def run() -> None:
        with sdpa_kernel(kernel):
            torch.nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()

    return run


def _works(arm: Callable[[], None]) -> bool:
    try:
        arm()
    except RuntimeError:  # this kernel does not know such a device, precision or width
        return False
    return True


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.backends.cpu.get_cpu_capability()}"
