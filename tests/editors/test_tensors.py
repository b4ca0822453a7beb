"""Between ComfyUI's tensors and pictures: values, shapes, and which way round a mask is. Without ComfyUI."""

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document.layers import LayerStack


@pytest.fixture(scope="module")
def tensors(comfy_nodes: ModuleType) -> ModuleType:
    """The module of the plug-in."""
    return sys.modules[f"{comfy_nodes.__name__}.tensors"]


def rgba(height: int = 5, width: int = 7) -> np.ndarray:
    """All kinds of values, with clear and opaque pixels."""
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 4), np.uint8)
    pixels[0, :3, 3] = 0, 255, 128
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """As a file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("channels", [3, 4])
def test_eight_bits_survive_the_way_there_and_back(tensors: ModuleType, channels: int) -> None:
    """Every level of a picture comes back as itself, from a tensor in 0 to 1."""
    pixels = np.arange(256 * channels, dtype=np.uint8).reshape(16, 16, channels)
    image = torch.from_numpy(pixels.astype(np.float32) / 255)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(tensors.to_png(image)))), pixels)
    back = tensors.to_image(tensors.to_png(image))
    assert back.shape == (1, 16, 16, 3) and torch.equal(back[0], image[..., :3])


def test_values_out_of_range_are_cut(tensors: ModuleType) -> None:
    """What other nodes leave below 0 and above 1 does not wrap round."""
    image = torch.tensor([-0.5, 0.5, 1.5]).reshape(1, 1, 3)
    assert np.asarray(Image.open(io.BytesIO(tensors.to_png(image)))).tolist() == [[[0, 128, 255]]]


def test_a_mask_is_one_minus_alpha(tensors: ModuleType) -> None:
    """0 where the layer is opaque and 1 where it is clear, as ComfyUI's own nodes give and take it."""
    pixels = rgba()
    image, mask = tensors.to_layer(png(pixels))
    assert image.shape == (1, 5, 7, 3) and mask.shape == (1, 5, 7) and image.dtype == mask.dtype == torch.float32
    assert mask[0, 0, :3].tolist() == pytest.approx([1, 0, 1 - 128 / 255])
    # What Join Image with Alpha does with the two gives the file back.
    joined = torch.cat([image, (1 - mask)[..., None]], dim=-1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(tensors.to_png(joined[0])))), pixels)


@pytest.mark.parametrize("shape", [(13, 17), (1, 13, 17), (2, 13, 17)])
def test_the_box_is_around_what_a_mask_marks(tensors: ModuleType, shape: tuple[int, ...]) -> None:
    """Half-open, in x, y order, from everything that is 1 in any mask of a batch."""
    mask = torch.zeros(shape)
    mask[..., 3, 5] = 1
    mask[..., 10, 11] = 1
    assert tensors.box_of(mask, (0, 0, 1, 1)) == [5, 3, 12, 11]


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 64, 64)])
def test_without_a_mark_the_numbers_count(tensors: ModuleType, mask: torch.Tensor | None) -> None:
    """Load Image gives an empty mask of 64×64 for a picture without alpha: it marks nothing."""
    assert tensors.box_of(mask, (40, 30, 80, 70)) == [40, 30, 120, 100]


def test_layers_of_a_document_lie_where_they_were(tensors: ModuleType, tmp_path: Path) -> None:
    """Cropped layers come back on the whole canvas, from back to front, cut at its edges; the background is none of them."""
    stack = LayerStack.new(np.full((19, 23, 3), 200, np.uint8))
    stack.add(rgba(), "inside", x=3, y=4)
    stack.add(rgba(), "over the edge", x=20, y=-2)
    images, masks = tensors.layers_of(documents.encode(stack, ".zip"))
    assert images.shape == (2, 19, 23, 3) and masks.shape == (2, 19, 23)
    for layer, image, mask in zip(stack.layers[1:], images, masks, strict=True):
        expected = torch.from_numpy(layer.on_canvas(23, 19)) / 255
        assert torch.allclose(mask, 1 - expected[..., 3], atol=1e-6) and (mask < 1).any()
        seen = expected[..., 3] > 0
        assert torch.allclose(image[seen], expected[seen][..., :3], atol=1e-6)
