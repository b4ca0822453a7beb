"""What a step of any network takes, counted on a network without numbers: shapes alone run through its real code, in seconds.

The dual branch has formulas (`cost`), which hold for every geometry at once; what is convolutional, or trained once, is counted.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Counted:
    """A network in training on one sample.

    `base_params` are frozen, and `block_weights` of them are what `memory=nf4` rounds; `whole_params` are frozen too, and stay float32
    whatever is trained (autoencoders). `flops` of forward and backward, with what is computed again. `kept_bytes`: activations that
    autograd keeps of a sample, and at its peak what one block holds that is computed again.
    """

    base_params: int
    block_weights: int
    whole_params: int
    trainable_params: int
    trainable_tensors: int
    flops: float
    kept_bytes: float


@contextlib.contextmanager
def shapes_alone() -> Iterator[None]:
    """Within, tensors have shape and type and no memory, as if on a CPU."""
    with FakeTensorMode():
        yield


def as_shapes(module: nn.Module, dtype: torch.dtype) -> None:
    """Give a module that was made on the meta device such tensors, its parameters in `dtype`. Within `shapes_alone`."""
    for part in module.modules():
        for name, p in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.empty(p.shape, dtype=dtype), requires_grad=p.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def counted(
    module: nn.Module, run: Callable[[], Tensor], *, whole: nn.Module | None = None, blocks: Any = (), bf16: bool = False
) -> Counted:
    """Count `run`, which takes `module` to a loss of one sample. Within `shapes_alone`, where both were made.

    `whole`: the part of it that stays float32; `blocks`: those that may be rounded, each computed again where checkpointing is on;
    `bf16`: matrices are multiplied in bfloat16.
    """
    flops = FlopCounterMode(display=False)
    with flops, sdpa_kernel(SDPBackend.MATH):  # torch does not count its fused attention on a CPU
        run().backward()
    module.zero_grad()
    parameters = list(module.parameters())
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    kept_whole = 0 if whole is None else sum(p.numel() for p in whole.parameters() if not p.requires_grad)
    trained = [p for p in parameters if p.requires_grad]
    linear = (m for block in blocks for m in block.modules() if isinstance(m, nn.Linear))
    return Counted(
        base_params=frozen - kept_whole,
        block_weights=sum(m.weight.numel() for m in linear if not m.weight.requires_grad),
        whole_params=kept_whole,
        trainable_params=sum(p.numel() for p in trained),
        trainable_tensors=len(trained),
        flops=float(flops.get_total_flops()),
        kept_bytes=kept_bytes(run, bf16),
    )


def kept_bytes(run: Callable[[], Tensor], bf16: bool = False) -> float:
    """Bytes of the tensors that autograd saves in the forward pass of `run`, each storage once, parameters left out."""
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage  # held: another one would get its address
        return tensor

    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    assert loss.requires_grad
    return float(sum(storage.nbytes() for storage in storages.values()))
