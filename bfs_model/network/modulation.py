"""The modulation of both branches, computed once: they have one noise level, one guidance and one pooled prompt.

A quarter of a Flux transformer's weights turn that vector into shifts, scales and gates. They see one row per image here,
and answer with one row per branch.
"""

from typing import Any

from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero, AdaLayerNormZeroSingle
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_NORMS = (AdaLayerNormZero, AdaLayerNormZeroSingle, AdaLayerNormContinuous)


def answer_for_both(transformer: nn.Module) -> list[RemovableHandle]:
    """Hook every modulation layer: given rows for the images of a batch, it returns rows for `[comp …, fg …]`.

    The transformer is then called with noise level, guidance and pooled prompt of each image once. Removing the handles
    restores it.
    """
    layers: list[Any] = [module.linear for module in transformer.modules() if isinstance(module, _NORMS)]
    return [layer.register_forward_hook(_twice) for layer in layers]


def _twice(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.repeat(2, 1)
