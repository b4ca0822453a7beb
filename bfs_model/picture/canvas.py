"""Pictures into and out of the pipeline: anything that is a picture, and layers on the full canvas over their backgrounds."""

from typing import Any

import numpy as np
from PIL import Image

from bfs_model.picture.compositing import composite, composite_u8, resize_rgba
from bfs_model.picture.images import LoadedImage, checked_array, read_image, to_u8
from bfs_model.picture.window import BAND_PIXELS, Window


def pixels(image: Any, key: str) -> np.ndarray:
    """RGB [H, W, 3] of anything a picture can be: uint8, or float in [0, 1] when it came as such an array.

    Files, bytes and PIL images are made upright and sRGB; what is transparent is seen over white, the paper of editors.
    Raises `BadInput` with `key`.
    """
    if isinstance(image, np.ndarray):
        array = checked_array(image, key=key)
        if array.shape[2] == 3:
            return array
        if array.dtype == np.uint8:
            return LoadedImage(array[..., :3], array[..., 3]).over_white()
        return composite(array, np.ones((1, 1, 3), np.float32))
    return read_image(image, key=key).over_white()


def all_pixels(images: Any, key: str) -> Any:
    """As `pixels`, of one picture or of each in a list."""
    return [pixels(image, key) for image in images] if isinstance(images, list | tuple) else pixels(images, key)


def finish(windows: list[Window], decoded: list[np.ndarray], images: list[np.ndarray], output_type: str) -> tuple[list[Any], list[Any]]:
    """Layers on the full canvas, and the composites over the untouched backgrounds: PIL, or float arrays for `np`.

    Args: `decoded`: straight RGBA float [size, size, 4], one per window; `images`: the backgrounds, as `pixels` gives them.
    """
    placed = [window.place_u8(layer) for window, layer in zip(windows, decoded, strict=True)]
    pictures = [over(layer, to_u8(image)) for layer, image in zip(placed, images, strict=True)]
    if output_type == "np":
        layers = [window.place(layer) for window, layer in zip(windows, decoded, strict=True)]
        return layers, [picture.astype(np.float32) / 255 for picture in pictures]
    return [Image.fromarray(layer, "RGBA") for layer in placed], [Image.fromarray(picture, "RGB") for picture in pictures]


def over(layer: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Eq. 1 on uint8 [H, W, 4] and [H, W, 3], band by band: a large picture is never held in float."""
    out = background.copy()
    num_rows = max(BAND_PIXELS // background.shape[1], 1)
    for top in range(0, len(out), num_rows):
        band = slice(top, top + num_rows)
        if layer[band, :, 3].any():
            out[band] = composite_u8(layer[band], background[band])
    return out


def preview(window: Window, layer: np.ndarray, side: int) -> Image.Image:
    """A drawn window, straight RGBA float [size, size, 4], on the picture's canvas made small: RGBA, its longer side at most `side` pixels.

    Costs what the small canvas costs, however large the picture is.
    """
    scale = min(1.0, side / max(window.image_width, window.image_height))  # of a tiny picture the window would become huge
    small = Image.new("RGBA", (max(round(window.image_width * scale), 1), max(round(window.image_height * scale), 1)))
    length = max(round(window.side * scale), 1)
    drawn = Image.fromarray(to_u8(resize_rgba(layer.astype(np.float32), length, length)))
    small.paste(drawn, (round(window.x * scale), round(window.y * scale)))
    return small
