"""A layer's pixels inside a document."""

import io

import numpy as np
import pytest
from PIL import Image

from bfs_model.document.format import pixels
from bfs_model.document.format.manifest import Reading
from bfs_model.errors import BadInput


def test_only_png_is_read() -> None:
    """What a zip calls a layer may be any file; a JPEG of a few bytes can cost minutes."""
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    assert np.array_equal(pixels.decode(pixels.encode(rgba), Reading("d", 100), 100)[..., 3], rgba[..., 3])
    for kind in ("JPEG", "WEBP", "TIFF"):
        out = io.BytesIO()
        Image.fromarray(rgba[..., :3]).save(out, kind)
        with pytest.raises(BadInput, match="has a layer that is not a PNG"):
            pixels.decode(out.getvalue(), Reading("d", 100), 100)
