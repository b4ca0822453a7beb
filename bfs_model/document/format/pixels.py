"""A layer's pixels as PNG inside a document."""

import numpy as np

from bfs_model.document.format.manifest import Reading
from bfs_model.errors import BadInput
from bfs_model.picture.images import png_bytes, read_image

_PNG = b"\x89PNG\r\n\x1a\n"


def encode(rgba: np.ndarray) -> bytes:
    """uint8 [h, w, 4] -> PNG, without an alpha channel where everything is opaque."""
    return png_bytes(rgba[..., :3] if (rgba[..., 3] == 255).all() else rgba)


def decode(picture: bytes, reading: Reading, max_pixels: int) -> np.ndarray:
    """PNG -> uint8 [h, w, 4]. Raises `BadInput` that names the document.

    In no other format, which `read_image` would know: a small JPEG of many scans can take minutes to decode.
    """
    if not picture.startswith(_PNG):
        raise reading.bad("has a layer that is not a PNG")
    try:
        return read_image(picture, key="layer", max_pixels=min(max_pixels, reading.max_pixels)).rgba()
    except BadInput as error:
        raise reading.bad(f"has a layer that {error.rule}") from None
