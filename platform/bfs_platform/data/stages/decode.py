"""Bytes → arrays: allow-listed formats, size checked before decoding, everything that is wrong with a picture named."""

from collections.abc import Callable

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.images import LoadedImage, read_image
from bfs_platform.data.isolated import ReadImage
from bfs_platform.data.record import Part, Reason, Record, Reject, Row
from bfs_platform.data.stages.fit import resized

# How Python and NumPy say that memory has run out, inside `read_image`'s message.
_NO_ROOM = ("MemoryError", "Unable to allocate")

Fetch = Callable[[Part], bytes]


def decode(row: Row, fetch: Fetch, max_pixels: int, read: ReadImage = read_image, box_as_mask: bool = False) -> Record:
    """Read all parts of `row` through `fetch` and `read`. Raises `Reject` for anything missing, unreadable or of unequal size.

    With `box_as_mask` a row without a mask may have a box instead: its inside stands for the mask until a model draws the real one.
    """
    if row.problem is not None:
        raise Reject(Reason.UNREADABLE, row.problem)
    boxed = box_as_mask and row.box is not None and "object_mask" not in row.parts
    for role in ("composite", "object_mask"):
        if role not in row.parts and not (boxed and role == "object_mask"):
            raise Reject(Reason.MISSING, f"the record has no {role}")
    parts = {role: _read(role, fetch(part), max_pixels, read) for role, part in row.parts.items()}
    pictures = {role: _as_role(role, image) for role, image in parts.items()}
    size = pictures["composite"].shape[:2]
    if row.same_aspect:
        pictures = {role: _rescaled(picture, size) for role, picture in pictures.items()}
    for role, picture in pictures.items():
        if picture.shape[:2] != size:
            rule = f"{role} is {picture.shape[1]}x{picture.shape[0]}, the composite {size[1]}x{size[0]}"
            raise Reject(Reason.SIZE_MISMATCH, rule)
    if boxed:
        pictures["object_mask"] = _filled(row.box, size)
    return Record(row.id, row.caption, background=pictures.pop("background", None), mask_is_box=boxed, **pictures)


def _filled(box: tuple[int, int, int, int] | None, size: tuple[int, ...]) -> np.ndarray:
    assert box is not None
    mask = np.zeros(size, np.uint8)
    x0, y0, x1, y1 = (max(0, side) for side in box)
    mask[y0:y1, x0:x1] = 255
    return mask


def _read(role: str, data: bytes, max_pixels: int, read: ReadImage) -> LoadedImage:
    try:
        return read(data, key=role, max_pixels=max_pixels)
    except BadInput as error:
        too_large = ("more than" in error.rule and "pixels" in error.rule) or any(words in error.rule for words in _NO_ROOM)
        raise Reject(Reason.TOO_LARGE if too_large else Reason.UNREADABLE, f"{role} {error.rule}") from None


def _rescaled(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """`picture` at the composite's size, unless its aspect differs by more than 2 %: then it shows another frame."""
    height, width = picture.shape[:2]
    stretch = (width / height) / (size[1] / size[0])
    return resized(picture, (size[1], size[0])) if (height, width) != size and 0.98 < stretch < 1.02 else picture


def _as_role(role: str, image: LoadedImage) -> np.ndarray:
    """What the role calls for: RGBA for a layer, one channel for a mask, opaque RGB for a picture."""
    if role == "foreground":
        if image.alpha is None:
            raise Reject(Reason.WRONG_MODE, f"{role} has no transparent pixels, so it would hide the background entirely")
        return image.rgba()
    if image.alpha is not None:
        raise Reject(Reason.WRONG_MODE, f"{role} has transparent pixels")
    if not role.endswith("mask"):
        return image.rgb
    spread = image.rgb.max(axis=-1).astype(int) - image.rgb.min(axis=-1)
    if spread.max() > 8:
        raise Reject(Reason.WRONG_MODE, f"{role} is coloured, not grey")
    return image.rgb[..., 1]
