"""Bytes → arrays: allow-listed formats, size checked before decoding, everything that is wrong with a picture named."""

from collections.abc import Callable

import numpy as np

from bfs_model.document.effects import split
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import LoadedImage, read_image
from bfs_platform.data.decode.isolated import ReadImage
from bfs_platform.data.record import Part, Reason, Record, Reject, Row
from bfs_platform.data.stage.fit import MASK_LEVEL, resized

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
    for role in ("foreground", "background") if row.whole_layer else ("composite", "object_mask"):
        if role not in row.parts and not (boxed and role == "object_mask"):
            raise Reject(Reason.MISSING, f"the record has no {role}")
    parts = {role: _read(role, fetch(part), max_pixels, read) for role, part in row.parts.items()}
    pictures = {role: _as_role(role, image) for role, image in parts.items()}
    size = pictures["foreground" if row.whole_layer else "composite"].shape[:2]
    if row.same_aspect:
        pictures = {role: _rescaled(picture, size) for role, picture in pictures.items()}
    for role, picture in pictures.items():
        if picture.shape[:2] != size:
            other = "foreground" if row.whole_layer else "composite"
            rule = f"{role} is {picture.shape[1]}x{picture.shape[0]}, the {other} {size[1]}x{size[0]}"
            raise Reject(Reason.SIZE_MISMATCH, rule)
    if row.whole_layer:
        pictures = _completed(pictures)
    if boxed:
        pictures["object_mask"] = _filled(row.box, size)
    if row.mirrored:
        pictures = {role: np.ascontiguousarray(picture[:, ::-1]) for role, picture in pictures.items()}
    background = pictures.pop("background", None)
    return Record(row.id, row.caption, background=background, mask_is_box=boxed, whole_layer=row.whole_layer, **pictures)


def _completed(pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A given layer with the composite that it makes, and with the mask of its object, where the source has none.

    The object is what `bfs_model.document.effects` tells apart from its effects, where that is at least half as opaque as it ever is:
    the edges of shadows are not, glass is.
    """
    layer = pictures["foreground"]
    made = {} if "composite" in pictures else {"composite": composite_u8(layer, pictures["background"])}
    if "object_mask" not in pictures:
        alpha = split(layer)[1][..., 3].astype(np.int16)
        made["object_mask"] = np.where((2 * alpha >= alpha.max()) & (alpha > 0), 255, 0).astype(np.uint8)
    return pictures | made


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
    return _as_mask(role, image.rgb[..., 1])


def _as_mask(role: str, mask: np.ndarray) -> np.ndarray:
    """`mask`, where something of it can count as white: of an object anything, of its effects all but 0 and 1."""
    brightest = int(mask.max(initial=0))
    if brightest == 1 or (role == "object_mask" and 0 < brightest < MASK_LEVEL):
        cure = ": multiply it by 255" if brightest == 1 else ""
        raise Reject(Reason.EMPTY_MASK, f"the brightest value of {role} is {brightest}; 255 is expected where the mask is set{cure}")
    return mask
