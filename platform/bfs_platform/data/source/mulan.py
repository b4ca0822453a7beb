"""MuLAn: photographs taken apart into RGBA layers. One annotation per picture, and the pictures themselves, which users fetch.

Layout of `mulan-dataset/v1.0` as its readers use it: `ID.p.zl`, a zlib-compressed pickle of `{"background", "instances": {key: …}}`,
in back-to-front order; each layer has `original_image_mask` (where the photograph shows it), `inpainted_delta` (what was painted
where it does not), captions `blip2` and `llava`, and instances `instance_alpha`. Each instance gives one record: with it and all
behind it, without it, and its layer.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8, pad_rgb
from bfs_model.picture.images import png_bytes
from bfs_platform.data.decode.isolated import reader_of
from bfs_platform.data.decode.restricted_pickle import Refused, loads_compressed
from bfs_platform.data.record import Part, Reason, Reject, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import Debris, all_below, composed, files_below, relative, sorted_out
from bfs_platform.data.spec import DecoderSpec
from bfs_platform.storage.path import Location

SUFFIX = ".p.zl"
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
ROLES = ("composite", "background", "object_mask", "foreground")
MAX_PIXELS = 50_000_000


@source("mulan", Licence("CC-BY-NC-SA-4.0", False, "MuLAn: non-commercial; pictures from COCO and LAION under their own terms"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List the instances of all annotations below `root`, with the pictures of the same name beside or anywhere below it.

    An annotation has to be unpacked to know its instances: listing reads the annotations, but no picture.
    """
    annotations, debris = files_below(root, SUFFIX)
    yield from debris
    pictures = _pictures(root)
    names = Counter(path.name for path in annotations)
    for path in annotations:
        name = relative(path, root)
        # Pictures of two collections may have one number.
        image_id = path.name.removesuffix(SUFFIX) if names[path.name] == 1 else name.removesuffix(SUFFIX)
        try:
            instances = _instances(loads_compressed(path.read_bytes()))
        except (Refused, OSError) as error:
            yield Row(image_id, problem=f"{name}: {error}")
            continue
        picture, problem = _picture_of(name, pictures)
        if picture is None:
            yield Row(image_id, problem=problem)
            continue
        for number, instance in enumerate(instances):
            parts = {role: Part(name, container="mulan", row=number, column=f"{role} {picture}") for role in ROLES}
            yield Row(f"{image_id}/{number}", _caption(instance), parts)


def _pictures(root: Location) -> dict[str, list[str]]:
    """The paths of all pictures by their names without suffix."""
    found: dict[str, list[str]] = {}
    for path in sorted_out(all_below(root), root)[0] if root.is_dir() else []:
        if path.name.lower().endswith(PICTURES):
            found.setdefault(composed(path.name.rsplit(".", 1)[0]), []).append(relative(path, root))
    return found


def _picture_of(annotation: str, pictures: dict[str, list[str]]) -> tuple[str | None, str]:
    """The picture of an annotation, that beside it if there are several; or None and why."""
    stem = PurePosixPath(annotation).name.removesuffix(SUFFIX)
    found = pictures.get(composed(stem), [])
    beside = [path for path in found if PurePosixPath(path).parent == PurePosixPath(annotation).parent]
    if len(found) == 1 or len(beside) == 1:
        return (beside if len(beside) == 1 else found)[0], ""
    if found:
        return None, f"{len(found)} pictures are called as {annotation} ({', '.join(found[:2])}); leave one, or put it beside"
    return None, f"the picture of {annotation} is not there; fetch {stem}.jpg"


def read_layer(root: Location, part: Part) -> bytes:
    """The PNG of one role of one instance. Raises `Reject`."""
    role, _, picture = part.column.partition(" ")
    background, layers = _taken_apart(root, part.path, picture)
    if part.row >= len(layers):
        raise Reject(Reason.MISSING, f"{part.path} has no instance {part.row}")
    layer = layers[part.row]
    if role == "foreground":
        return png_bytes(pad_rgb(layer))
    if role == "object_mask":
        return png_bytes(np.where(layer[..., 3] >= 128, 255, 0).astype(np.uint8))
    shown = background
    for below in layers[: part.row + (role == "composite")]:
        shown = composite_u8(below, shown)
    return png_bytes(shown)


@lru_cache(maxsize=2)
def _taken_apart(root: Location, annotation: str, picture: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The background [H, W, 3] and the instances [H, W, 4] of one photograph, back to front. uint8."""
    try:
        photograph = reader_of(DecoderSpec())((root / picture).read_bytes(), key="picture", max_pixels=MAX_PIXELS).rgb
        value = loads_compressed((root / annotation).read_bytes())
        instances = _instances(value)
        background = _colours(photograph, value["background"])
        return background, [np.dstack([_colours(photograph, one), _alpha(photograph, one)]) for one in instances]
    except BadInput as error:
        raise Reject(Reason.UNREADABLE, f"{picture} {error.rule}") from None
    except (Refused, KeyError, TypeError) as error:
        raise Reject(Reason.UNREADABLE, f"{annotation}: {error}") from None


def _instances(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("instances"), dict) or not isinstance(value.get("background"), dict):
        raise Refused("it is not a MuLAn annotation")
    return [one for one in value["instances"].values() if isinstance(one, dict)]


def _colours(photograph: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """A layer's colours [H, W, 3]: the photograph where it shows the layer, the painting elsewhere."""
    mask, painted = _fitting(photograph, layer.get("original_image_mask")), _fitting(photograph, layer.get("inpainted_delta"))
    shown = (mask if mask.ndim == 2 else mask.max(axis=-1)) > 0
    painted = painted[..., :3] if painted.ndim == 3 else np.dstack([painted] * 3)
    return np.where(shown[..., None], photograph, painted.astype(np.uint8))


def _alpha(photograph: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    alpha = _fitting(photograph, layer.get("instance_alpha"))
    alpha = alpha[..., -1] if alpha.ndim == 3 else alpha
    scale = 255 if alpha.dtype == bool or (alpha.dtype.kind == "f" and alpha.max(initial=0) <= 1) else 1
    return np.rint(alpha.astype(np.float64) * scale).clip(0, 255).astype(np.uint8)


def _fitting(photograph: np.ndarray, array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise Refused("a layer lacks its mask, its painting or its alpha")
    array = np.squeeze(array)
    if array.shape[:2] != photograph.shape[:2]:
        rule = f"a layer is {array.shape[1::-1]}, its picture {photograph.shape[1::-1]}"
        raise Reject(Reason.SIZE_MISMATCH, rule)
    return array


def _caption(instance: dict[str, Any]) -> str:
    stated = instance.get("captioning")
    for facts in (instance, stated if isinstance(stated, dict) else {}):
        for key in ("blip2", "llava", "caption"):
            if isinstance(facts.get(key), str) and facts[key].strip():
                return facts[key].strip()
    return ""
