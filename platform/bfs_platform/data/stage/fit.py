"""Records into resolution buckets: scaled to cover the nearest aspect, then cropped around the object."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from bfs_model.picture.boxes import bounding_box
from bfs_platform.data.record import Reason, Record, Reject

MASK_LEVEL = 128
PICTURES = ("composite", "background", "object_mask", "effect_mask", "foreground", "shadow_free")


def nearest_bucket(height: int, width: int, buckets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The bucket (height, width) whose aspect is nearest in log scale; of equals, the largest."""
    return min(buckets, key=lambda b: (round(abs(np.log(b[1] / b[0]) - np.log(width / height)), 6), -b[0] * b[1]))


def fit(record: Record, buckets: Sequence[tuple[int, int]], max_upscale: float) -> Record:
    """Bring all pictures of `record` to the size of its bucket. A record that has it already is returned untouched.

    Raises `Reject` when it would have to grow by more than `max_upscale`.
    """
    height, width = record.composite.shape[:2]
    rows, columns = nearest_bucket(height, width, buckets)
    if (height, width) == (rows, columns):
        return record
    scale = max(rows / height, columns / width)
    if scale > max_upscale:
        raise Reject(Reason.TOO_SMALL, f"{width}x{height} would have to grow {scale:.2f} times to fill {columns}x{rows}")
    size = max(columns, round(width * scale)), max(rows, round(height * scale))
    top, left = _crop_origin(record.object_mask, size, rows, columns)
    window = (left, top, left + columns, top + rows)

    def place(picture: np.ndarray | None) -> np.ndarray | None:
        return None if picture is None else resized(picture, size)[window[1] : window[3], window[0] : window[2]]

    for name in PICTURES:
        setattr(record, name, place(getattr(record, name)))
    return record


def _crop_origin(mask: np.ndarray, size: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Top and left of a rows × columns window in the scaled picture, as central as possible while it holds the object."""
    box = bounding_box(mask >= MASK_LEVEL)
    if box is None:
        return (size[1] - rows) // 2, (size[0] - columns) // 2
    factor_x, factor_y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    top = _slide(box.y0 * factor_y, box.y1 * factor_y, rows, size[1])
    left = _slide(box.x0 * factor_x, box.x1 * factor_x, columns, size[0])
    return top, left


def _slide(low: float, high: float, window: int, length: int) -> int:
    centred = (length - window) / 2
    if high - low >= window:
        wanted = (low + high - window) / 2
    else:
        wanted = min(max(centred, high - window), low)
    return int(np.clip(round(wanted), 0, length - window))


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased resampling of uint8 [H, W] or [H, W, C]; Pillow premultiplies RGBA itself."""
    image = Image.fromarray(picture)
    if image.mode == "RGBA":
        return np.asarray(image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA"))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))
