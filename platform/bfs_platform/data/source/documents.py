"""Our own documents, `.zip`, `.ora` and `.psd`, as they are or as people went on with them in an editor: layers become records.

Each visible layer above the background gives one: all that lies below it, the layer as RGBA, and both together. Object and effects that
were split into two layers of one group are one layer again. Captions are prompts, or the names that somebody gave.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from bfs_model.document.file import decode
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.images import png_bytes
from bfs_model.sampling.refit import least_alpha, solve_foreground
from bfs_platform.data.record import Part, Reason, Reject, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import Debris, files_below, relative
from bfs_platform.storage.path import Location, version_of

SUFFIXES = (".zip", ".ora", ".psd")
MAX_PIXELS = 50_000_000
ROLES = ("composite", "background", "foreground")
# What editors call a layer that nobody named.
_UNNAMED = re.compile(r"^((paint|new|pasted|raster) )?layer\W*\d*( copy.*)?$", re.IGNORECASE)


@source("documents", Licence("unstated", False, "the documents say nothing"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List the layers of all documents below `root`, from back to front. A document has to be opened to know its layers.

    One that cannot be read, or holds no layer above its background, is one row with a problem.
    """
    files, debris = files_below(root, *SUFFIXES)
    yield from debris
    for path in files:
        name = relative(path, root)
        document = PurePosixPath(name).with_suffix("").as_posix()
        try:
            layers = _layers(path)[1]
        except (BadInput, OSError) as error:
            yield Row(document, problem=f"{name}: {error.rule if isinstance(error, BadInput) else error.strerror}")
            continue
        if not layers:
            yield Row(document, problem=f"{name} has no visible layer above its background")
        for number, drawn in enumerate(layers):
            roles = (*ROLES, "object_mask") if len(drawn) > 1 else ROLES
            parts = {role: Part(name, container="document", row=number, column=role) for role in roles}
            yield Row(f"{document}/{drawn[-1].id}", _caption(drawn), parts, whole_layer=True)


def read_layer(root: Location, part: Part) -> bytes:
    """The PNG of one role of one layer. Raises `Reject` for a document that cannot be read, or whose background has holes."""
    try:
        below, layers = _layers(root / part.path)
    except BadInput as error:
        raise Reject(Reason.UNREADABLE, f"{part.path} {error.rule}") from None
    if part.row >= len(layers):
        raise Reject(Reason.MISSING, f"{part.path} has no layer {part.row}")
    drawn = layers[part.row]
    if part.column == "object_mask":
        return png_bytes(_canvas(below, drawn[1:])[..., 3])
    behind = [*below.layers, *(layer for one in layers[: part.row] for layer in one)]
    background = _canvas(below, behind)
    if (background[..., 3] < 255).any():
        raise Reject(Reason.NO_BACKGROUND, f"{part.path}: what lies below {drawn[-1].name!r} does not fill the canvas")
    if part.column == "background":
        return png_bytes(background[..., :3])
    composite = _canvas(below, [*behind, *drawn])[..., :3]
    if part.column == "composite":
        return png_bytes(composite)
    if any(layer.blend_mode != "normal" for layer in drawn):
        # A layer that multiplies or screens, as one that lies over this very background.
        return png_bytes(solve_foreground(composite, background[..., :3], least_alpha(composite, background[..., :3])))
    return png_bytes(_canvas(below, drawn))


def _layers(path: Location) -> tuple[LayerStack, list[tuple[Layer, ...]]]:
    return _opened(path, version_of(path))


@lru_cache(maxsize=2)
def _opened(path: Location, version: tuple[int, int]) -> tuple[LayerStack, list[tuple[Layer, ...]]]:
    """The background of a document, and what was drawn over it, from back to front: a layer, or its effects and its object."""
    stack: LayerStack = decode(path.read_bytes(), shown=str(path), max_pixels=MAX_PIXELS)
    visible = [layer for layer in stack if layer.visible and layer.opacity > 0]
    behind = [layer for number, layer in enumerate(visible) if number == 0 or layer.role == "background"]
    drawn: list[tuple[Layer, ...]] = []
    for layer in visible:
        if layer in behind:
            continue
        under = drawn[-1] if drawn else ()
        halves = len(under) == 1 and under[0].part == "effects" and layer.part == "object" and under[0].group == layer.group
        drawn = [*drawn[:-1], (*under, layer)] if halves else [*drawn, (layer,)]
    return LayerStack(stack.width, stack.height, behind), drawn


def _canvas(below: LayerStack, layers: Sequence[Layer]) -> np.ndarray:
    """What some layers make together, straight RGBA: uint8 [H, W, 4]."""
    return np.asarray(LayerStack(below.width, below.height, layers).flatten().convert("RGBA"))


def _caption(drawn: Sequence[Layer]) -> str:
    layer = drawn[-1]
    if layer.prompt and layer.prompt.strip():
        return layer.prompt
    name = re.sub(r" \(object\)$", "", layer.name)
    return "" if _UNNAMED.match(name.strip()) else name
