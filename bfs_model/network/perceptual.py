"""Perceptual distances between pictures: one protocol, one that needs no weights, and LPIPS on VGG weights from a local folder."""

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from bfs_model.errors import BadInput
from bfs_model.shapes import Float

# VGG-16: number of convolutions and their width per stage; each stage but the first begins with a pooling.
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Zhang et al. 2018 (richzhang/PerceptualSimilarity): what takes [-1, 1] to the normalisation of ImageNet.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Perceptual(Protocol):
    """How differently two batches of pictures look."""

    def __call__(self, output: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, ""]:
        """Mean distance of pictures in [-1, 1]; 0 for equal ones; gradients reach `output`."""
        ...


class MultiScaleGradients(nn.Module):
    """Absolute error of horizontal and vertical differences at octaves of the picture: edges and soft transitions alike."""

    def __init__(self, octaves: int = 4) -> None:
        super().__init__()
        self.octaves = octaves

    def forward(self, output: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, ""]:
        error = output - target
        terms = []
        for _ in range(self.octaves):
            if min(error.shape[-2:]) < 2:
                break
            terms.append((error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean())
            error = F.avg_pool2d(error, 2)
        return torch.stack(terms).mean()


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018): weighted squared differences of unit-length VGG-16 features of five depths. Frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        channels = 3
        for i, (count, width) in enumerate(_STAGES):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if i else []
            for j in range(count):
                layers += [nn.Conv2d(width if j else channels, width, 3, padding=1), nn.ReLU()]
            self.stages.append(nn.Sequential(*layers))
            channels = width
        self.heads = nn.ParameterList([nn.Parameter(torch.ones(1, width, 1, 1)) for _, width in _STAGES])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Lpips":
        """Load every safetensors file of a folder: VGG-16 as torchvision names it (`features.0.weight` …), LPIPS's heads as
        its authors do (`lin0.model.1.weight` …).

        Raises: `BadInput` when the folder, a tensor, or its shape is not there.
        """
        files = sorted(Path(folder).expanduser().glob("*.safetensors"))
        if not files:
            remedy = "convert torchvision's vgg16 and LPIPS's lin weights to safetensors there"
            raise BadInput("perceptual_folder", folder, "holds no safetensors file", remedy)
        found: dict[str, Tensor] = {}
        for file in files:
            found |= load_file(file)
        model = cls()
        names = [f"features.{i}" for i in _positions()]
        convolutions = [layer for layer in model.stages.modules() if isinstance(layer, nn.Conv2d)]
        wanted = {f"{n}.{kind}": getattr(c, kind) for n, c in zip(names, convolutions, strict=True) for kind in ("weight", "bias")}
        wanted |= {f"lin{i}.model.1.weight": head for i, head in enumerate(model.heads)}
        for name, parameter in wanted.items():
            if name not in found or found[name].shape != parameter.shape:
                shape = "x".join(str(n) for n in parameter.shape)
                raise BadInput("perceptual_folder", folder, f"lacks {name} of shape {shape}", "take VGG-16 and the LPIPS heads made for it")
            parameter.data.copy_(found[name])
        return model

    def forward(self, output: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, ""]:
        a, b = ((images - self.shift) / self.scale for images in (output, target))
        total = output.new_zeros(())
        for stage, head in zip(self.stages, self.heads, strict=True):
            a, b = stage(a), stage(b)
            total = total + (head * (_unit(a) - _unit(b)).square()).sum(dim=1).mean()
        return total


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _positions() -> list[int]:
    """Where the convolutions stand in torchvision's `features`: each with a ReLU behind it, a pooling between stages."""
    out, position = [], 0
    for count, _ in _STAGES:
        for _ in range(count):
            out.append(position)
            position += 2
        position += 1
    return out
