"""How much memory a pipeline takes: the precision of its frozen networks, and what happens to them besides.

What BFS adds (sharing, Φ, the RGBA VAE) and the VAE stay float32 in every mode: they are small, and training writes them.
"""

import importlib.util
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from bfs_model.errors import BadInput

MODES = ("none", "offload", "int8", "fp8", "nf4")
ROUNDED = ("int8", "fp8", "nf4")
MEMORY_VARIABLE = "BFS_MEMORY"
_WEIGHTS_PER_SCALE = 64
# The frozen networks, in the order of their size.
FROZEN = ("transformer", "text_encoder_2", "text_encoder", "image_encoder", "image_embedder")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_NEEDS = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
_KNOWN = {"torchao": "0.18", "bitsandbytes": "0.50"}


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

    Raises: `BadInput` for an unknown mode, `offload` without an accelerator, and a quantised mode without its library.
    """
    mode = mode or os.environ.get(MEMORY_VARIABLE) or "none"
    if mode not in MODES:
        raise BadInput("memory", mode, "is unknown", f"use one of {', '.join(MODES)}")
    if mode == "offload" and not torch.accelerator.is_available():
        raise BadInput("memory", mode, "needs an accelerator to take turns on, and this machine has none", "use memory=none")
    if mode in _NEEDS and importlib.util.find_spec(_NEEDS[mode]) is None:
        raise BadInput("memory", mode, f"needs {_NEEDS[mode]}, which is not installed", _install(mode))
    return mode


def apply(pipe: Any, mode: str) -> Any:
    """Bring a loaded pipeline into a checked mode and return it.

    `offload`: each network visits the accelerator in its turn; the sharing weights, which work inside the transformer, stay.
    `int8`, `fp8`: the linear maps inside the transformer's blocks and the T5 encoder hold 8 bits per weight. Activations
    keep their precision: this saves memory, not time. `nf4`: four bits, and a scale for every 64 weights; gradients pass
    through them, so that BFS can be trained on a base that takes a quarter of bfloat16 (QLoRA).
    """
    if mode == "offload":
        pipe.enable_model_cpu_offload()
    elif mode != "none":
        for part in (pipe.transformer, pipe.text_encoder_2):
            if part is not None:
                part.requires_grad_(False)
        t = pipe.transformer
        blocks = [] if t is None else [*t.transformer_blocks, *t.single_transformer_blocks]
        quantise([*blocks, pipe.text_encoder_2], mode)
    pipe.memory = mode
    return pipe


def to_accelerator(pipe: Any) -> Any:
    """The pipeline on this machine's GPU, if it has one. One that is offloaded stays where it is: its networks go there in turn."""
    return pipe if pipe.memory == "offload" or not torch.cuda.is_available() else pipe.to("cuda")


def quantise(blocks: Iterable[Any], mode: str) -> None:
    """Round the frozen linear maps inside `blocks`; None among these, an encoder that was left out, is passed over.

    Raises: `BadInput` when the library does not fit this torch.
    """
    try:
        rounding = _four_bits() if mode == "nf4" else _eight_bits(mode)
    except ImportError as error:
        raise BadInput("memory", mode, f"needs a {_NEEDS[mode]} that fits this torch ({error})", _install(mode)) from None
    for block in blocks:
        if block is not None:
            rounding(block)


def _eight_bits(mode: str) -> Callable[[Any], None]:
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    config = Int8WeightOnlyConfig() if mode == "int8" else Float8WeightOnlyConfig()
    return lambda block: quantize_(block, config)


def _four_bits() -> Callable[[Any], None]:
    from bitsandbytes.nn import Linear4bit, Params4bit

    def rounded(linear: torch.nn.Linear) -> Any:
        given = linear.weight
        made = Linear4bit(1, 1, bias=False, compute_dtype=given.dtype, quant_type="nf4")
        made.in_features, made.out_features, made.bias = linear.in_features, linear.out_features, linear.bias
        made.weight = Params4bit(given.data, requires_grad=False, quant_type="nf4", module=made)
        made.support_avx512bf16_for_cpu = False  # it would repack the weights in passes without gradients, for good
        return made.to(given.device)  # the move is what rounds

    def round_all(block: Any) -> None:
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is torch.nn.Linear and not child.weight.requires_grad and child.in_features % _WEIGHTS_PER_SCALE == 0:
                    setattr(parent, name, rounded(child))

    return round_all


def _install(mode: str) -> str:
    library = _NEEDS[mode]
    return f"install {library} ({_KNOWN[library]} is known to work), or use memory=none or memory=offload"
