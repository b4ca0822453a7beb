"""Bytes → arrays: allow-listed formats, size checked before decoding, everything that is wrong with a picture named."""

from collections.abc import Callable

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.images import LoadedImage, read_image
from bfs_platform.data.record import Part, Reason, Record, Reject, Row
from bfs_platform.data.stages.fit import resized

Fetch = Callable[[Part], bytes]


def decode(row: Row, fetch: Fetch, max_pixels: int) -> Record:
    """Read all parts of `row` through `fetch`. Raises `Reject` for anything missing, unreadable or of unequal size."""
    if row.problem is not None:
        raise Reject(Reason.UNREADABLE, row.problem)
    for role in ("composite", "object_mask"):
        if role not in row.parts:
            raise Reject(Reason.MISSING, f"the record has no {role}")
    parts = {role: _read(role, fetch(part), max_pixels) for role, part in row.parts.items()}
    pictures = {role: _as_role(role, image) for role, image in parts.items()}
    size = pictures["composite"].shape[:2]
    if row.same_aspect:
        pictures = {role: _rescaled(picture, size) for role, picture in pictures.items()}
    for role, picture in pictures.items():
        if picture.shape[:2] != size:
            rule = f"{role} is {picture.shape[1]}x{picture.shape[0]}, the composite {size[1]}x{size[0]}"
            raise Reject(Reason.SIZE_MISMATCH, rule)
    return Record(id=row.id, caption=row.caption, background=pictures.pop("background", None), **pictures)


def _read(role: str, data: bytes, max_pixels: int) -> LoadedImage:
    try:
        return read_image(data, key=role, max_pixels=max_pixels)
    except BadInput as error:
        too_large = "more than" in error.rule and "pixels" in error.rule
        raise Reject(Reason.TOO_LARGE if too_large else Reason.UNREADABLE, f"{role} {error.rule}") from None


def _rescaled(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """`picture` at the composite's size, unless its aspect differs by more than 2 %: then it shows another frame."""
    height, width = picture.shape[:2]
    stretch = (width / height) / (size[1] / size[0])
    return resized(picture, (size[1], size[0])) if (height, width) != size and 0.98 < stretch < 1.02 else picture


def _as_role(role: str, image: LoadedImage) -> np.ndarray:
    """What the role calls for: RGBA for a layer, one channel for a mask, opaque RGB for a picture."""
    if role == "foreground":
        return image.rgba()
    if image.alpha is not None:
        raise Reject(Reason.WRONG_MODE, f"{role} has transparent pixels")
    if not role.endswith("mask"):
        return image.rgb
    spread = image.rgb.max(axis=-1).astype(int) - image.rgb.min(axis=-1)
    if spread.max() > 8:
        raise Reject(Reason.WRONG_MODE, f"{role} is coloured, not grey")
    return image.rgb[..., 1]
