"""How much memory a pipeline takes: the precision of its frozen networks, and what happens to them besides.

What BFS adds (sharing, Φ, the RGBA VAE) and the VAE stay float32 in every mode: they are small, and training writes them.
"""

import importlib.util
import os
from typing import Any

import torch

from bfs_model.errors import BadInput

MODES = ("none", "offload", "int8", "fp8")
MEMORY_VARIABLE = "BFS_MEMORY"
# The frozen networks, in the order of their size.
FROZEN = ("transformer", "text_encoder_2", "text_encoder", "image_encoder", "image_embedder")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_INSTALL = "install torchao (0.18 is known to work), or use memory=none or memory=offload"


def as_dtype(value: str | torch.dtype | None) -> torch.dtype | None:
    """`bf16`, `fp16`, `fp32` or a dtype of torch; None stays None. Raises `BadInput` for anything else."""
    if value is None or (isinstance(value, torch.dtype) and value in _DTYPES.values()):
        return value
    if not isinstance(value, str) or value not in _DTYPES:
        raise BadInput("dtype", value, "is unknown", f"use one of {', '.join(_DTYPES)}")
    return _DTYPES[value]


def precisions(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The precision of every component: `dtype` for the frozen networks, float32 for all others."""
    return {"default": torch.float32, **dict.fromkeys(FROZEN, dtype)}


def checked_mode(mode: str | None) -> str:
    """The memory mode asked for, by argument or else by the environment variable BFS_MEMORY, if this machine can do it.

    Raises: `BadInput` for an unknown mode, `offload` without an accelerator, and a quantised mode without torchao.
    """
    mode = mode or os.environ.get(MEMORY_VARIABLE) or "none"
    if mode not in MODES:
        raise BadInput("memory", mode, "is unknown", f"use one of {', '.join(MODES)}")
    if mode == "offload" and not torch.accelerator.is_available():
        raise BadInput("memory", mode, "needs an accelerator to take turns on, and this machine has none", "use memory=none")
    if mode in ("int8", "fp8") and importlib.util.find_spec("torchao") is None:
        raise BadInput("memory", mode, "needs torchao, which is not installed", _INSTALL)
    return mode


def apply(pipe: Any, mode: str) -> Any:
    """Bring a loaded pipeline into a checked mode and return it.

    `offload`: each network visits the accelerator in its turn; the sharing weights, which work inside the transformer, stay.
    `int8`, `fp8`: the linear maps inside the transformer's blocks and the T5 encoder hold 8 bits per weight. Activations
    keep their precision: this saves memory, not time.
    """
    if mode == "offload":
        pipe.enable_model_cpu_offload()
    elif mode != "none":
        _quantise(pipe, mode)
    pipe.memory = mode
    return pipe


def to_accelerator(pipe: Any) -> Any:
    """The pipeline on this machine's GPU, if it has one. One that is offloaded stays where it is: its networks go there in turn."""
    return pipe if pipe.memory == "offload" or not torch.cuda.is_available() else pipe.to("cuda")


def _quantise(pipe: Any, mode: str) -> None:
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise BadInput("memory", mode, f"needs a torchao that fits this torch ({error})", _INSTALL) from None
    config = Int8WeightOnlyConfig() if mode == "int8" else Float8WeightOnlyConfig()
    blocks = [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks, pipe.text_encoder_2]
    for block in blocks:
        quantize_(block, config)


def execution_device(module: Any) -> torch.device:
    """Where a network computes: where it is, or, under offload, the accelerator that it will visit."""
    hook = getattr(module, "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or module.device)
