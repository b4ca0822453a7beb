"""Perceptual distances."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bfs_model.errors import BadInput
from bfs_model.network.perceptual import Lpips, MultiScaleGradients


def test_gradients_see_edges_and_not_brightness() -> None:
    """Equal pictures and a uniform shift cost nothing; a moved edge costs more than a faint ramp; tiny pictures work."""
    distance = MultiScaleGradients()
    target = torch.zeros(2, 3, 16, 24)
    target[..., 8:] = 1
    assert float(distance(target, target)) == 0 and float(distance(target + 0.3, target)) < 1e-6
    ramp = target + 0.2 * torch.linspace(0, 1, 24)
    assert float(distance(target.roll(2, -1), target)) > 3 * float(distance(ramp, target)) > 0
    assert float(distance(torch.rand(1, 3, 3, 2), torch.rand(1, 3, 3, 2))) > 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the names of torchvision's VGG-16 and of LPIPS's heads."""
    path = tmp_path_factory.mktemp("vgg")
    torch.manual_seed(0)
    widths, tensors, channels, position = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512), {}, 3, 0
    for width in widths:
        if width:
            tensors[f"features.{position}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            tensors[f"features.{position}.bias"] = torch.zeros(width)
            channels, position = width, position + 2
        else:
            position += 1
    save_file(tensors, path / "vgg16.safetensors")
    save_file(
        {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1) for i, w in enumerate((64, 128, 256, 512, 512))}, path / "lpips.safetensors"
    )
    return path


def test_lpips_from_a_folder(folder: Path) -> None:
    """LPIPS loads local weights, is 0 for equal pictures, grows with the difference, and only its input learns."""
    lpips = Lpips.from_folder(folder)
    torch.manual_seed(0)
    target, noise = torch.rand(1, 3, 16, 16) * 2 - 1, torch.randn(1, 3, 16, 16)
    output = (target + 0.1 * noise).requires_grad_()
    near = lpips(output, target)
    distance = float(near.detach())
    near.backward()
    assert float(lpips(target, target)) == 0 and 0 < distance < float(lpips(target + 0.5 * noise, target))
    assert output.grad is not None and output.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in lpips.parameters())


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    """No folder, and a folder without LPIPS's heads, are one clear error each."""
    with pytest.raises(BadInput, match="holds no safetensors file"):
        Lpips.from_folder(tmp_path / "nowhere")
    (tmp_path / "vgg16.safetensors").symlink_to(folder / "vgg16.safetensors")
    with pytest.raises(BadInput, match=r"lacks lin0\.model\.1\.weight of shape 1x64x1x1"):
        Lpips.from_folder(tmp_path)
