"""What a decoded picture shows: its colours in their own colour space, and apart from them its alpha."""

import numpy as np
from PIL import Image

Planes = tuple[Image.Image, Image.Image | None]


class NoMeaning(ValueError):
    """Samples that no rule turns into colours: what is so and what to do, as `BadInput` wants it."""

    def __init__(self, rule: str, remedy: str = "save it with 8 or 16 bits per channel, from black to white") -> None:
        self.rule, self.remedy = rule, remedy
        super().__init__(rule, remedy)


def planes(image: Image.Image) -> Planes:
    """Colour (L, RGB, CMYK or LAB, in the picture's own colour space) and alpha (L or None) of a picture of 8 bits per sample.

    Grey stays grey where something of it is transparent: its profile is one of greys. Raises `NoMeaning`.
    """
    if image.mode in ("RGBa", "La"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.mode in ("1", "L"):
        return image.convert("L"), _clear(image).getchannel("A") if image.has_transparency_data else None
    if image.has_transparency_data:
        with_alpha = _clear(image)
        return with_alpha.convert("RGB"), with_alpha.getchannel("A")
    if image.mode in ("RGB", "CMYK", "LAB"):
        return image, None
    if image.mode in ("P", "YCbCr", "HSV", "RGBX"):
        return image.convert("RGB"), None
    raise NoMeaning(f"holds samples of mode {image.mode}, which has no defined range")


def scaled(samples: np.ndarray, white: int) -> Image.Image:
    """Unsigned grey samples [H, W], of which `white` is the brightest, as an L image, rounded to the nearest level."""
    levels = (samples.astype(np.int64) * 255 + white // 2) // white
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _clear(image: Image.Image) -> Image.Image:
    """RGBA of an image with a clear colour. Of 16-bit samples Pillow keeps the high bytes and names the clear colour in full."""
    colour = image.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    return image.convert("RGBA")
