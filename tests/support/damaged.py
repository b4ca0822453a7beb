"""Pictures of all kinds that people upload, and what transfers, disks and strangers do to them."""

import io
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image

_SIZE = (61, 43)
_MODES = {
    "png": ("PNG", "RGB", {}),
    "png-alpha": ("PNG", "RGBA", {}),
    "png-palette": ("PNG", "P", {}),
    "png-16": ("PNG", "I;16", {}),
    "jpeg": ("JPEG", "RGB", {"quality": 90}),
    "jpeg-progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg-cmyk": ("JPEG", "CMYK", {}),
    "webp": ("WEBP", "RGBA", {"quality": 80}),
    "webp-lossless": ("WEBP", "RGB", {"lossless": True}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff-deflated": ("TIFF", "RGBA", {"compression": "tiff_deflate"}),
    "tiff-lzw": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "tiff-jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "ico": ("ICO", "RGBA", {}),
    "ppm": ("PPM", "RGB", {}),
    "jpeg2000": ("JPEG2000", "RGB", {}),
}


def whole() -> dict[str, bytes]:
    """One good picture of each kind."""
    pixels = np.random.default_rng(5).integers(0, 256, (_SIZE[1], _SIZE[0], 3), np.uint8)
    colour = Image.fromarray(pixels)
    found = {}
    for name, (kind, mode, settings) in _MODES.items():
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else colour.convert(mode)
        out = io.BytesIO()
        picture.save(out, kind, **settings)
        found[name] = out.getvalue()
    return found


def damaged(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The same picture cut off, with bits turned, with a hole, with a piece repeated, and in another's clothes; by what was done."""
    chance = random.Random(name)
    for part in (0.1, 0.5, 0.9):
        yield f"cut at {part}", data[: int(part * len(data))]
    yield "last byte", data[:-1]
    for number in range(4):
        turned = bytearray(data)
        for _ in range(1 + 4 * number):
            turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
        yield f"bits {number}", bytes(turned)
    for number in range(3):  # in the head, where sizes and offsets stand
        turned = bytearray(data)
        turned[chance.randrange(8, 64)] = 0xFF
        yield f"head {number}", bytes(turned)
    start = chance.randrange(len(data) // 2)
    yield "hole", data[:start] + bytes(len(data) // 4) + data[start + len(data) // 4 :]
    yield "repeated", data[: len(data) // 2] + data
    yield "among others", b"\x89PNG\r\n\x1a\n" + data
