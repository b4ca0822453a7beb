"""What every document says about itself: one JSON, whatever the file around it."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from bfs_model.document.file import Reading
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_model.version import __version__

FORMAT, VERSION = "bfs-document", 1
ORDER = "from bottom to top: the first layer is at the back"
MAX_JSON_BYTES = 4 * 2**20
MAX_LAYERS = 512


def describe(stack: LayerStack, where: Callable[[int, Layer], Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """The manifest of a stack. `where(position, layer)` adds where this kind of file keeps the layer's pixels."""
    layers = []
    for position, layer in enumerate(stack):
        entry: dict[str, Any] = {"id": layer.id, "name": layer.name, "role": layer.role}
        entry |= {"x": layer.x, "y": layer.y, "width": layer.width, "height": layer.height}
        entry |= {"opacity": layer.opacity, "blend_mode": layer.blend_mode, "visible": layer.visible}
        entry |= {"group": layer.group, "part": layer.part}
        entry |= {"box": None if layer.box is None else list(layer.box)}
        entry |= {"prompt": layer.prompt, "seed": layer.seed, "model": layer.model, "parameters": layer.parameters}
        layers.append(entry | dict(where(position, layer) if where else {}))
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"bfs {__version__}",
        "width": stack.width,
        "height": stack.height,
        "color_space": "srgb",
        "alpha": "straight",
        "layer_order": ORDER,
        "layers": layers,
    }


def dumps(manifest: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """The manifest as text. Raises `BadInput` when prompts and parameters make it larger than any reader accepts."""
    text = json.dumps(manifest, ensure_ascii=ascii_only, indent=None if ascii_only else 2)
    if len(text.encode()) > MAX_JSON_BYTES or len(manifest["layers"]) > MAX_LAYERS:
        size = f"{len(manifest['layers'])} layers, {len(text)} characters"
        raise BadInput("document", size, f"is larger than {MAX_LAYERS} layers or {MAX_JSON_BYTES} characters", "shorten parameters")
    return text


def loads(text: str | bytes, reading: Reading) -> dict[str, Any]:
    """Parse and check a manifest. Raises `BadInput` that names the first thing wrong."""
    if len(text) > MAX_JSON_BYTES:
        raise reading.bad(f"has a manifest of more than {MAX_JSON_BYTES} bytes")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise reading.bad("has a manifest that is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise reading.bad(f"has a manifest that is not a {FORMAT}")
    if manifest.get("version") != VERSION:
        raise reading.bad(f"is of version {manifest.get('version')!r}, this program reads {VERSION}", "update bfs")
    reading.check_canvas(_number(manifest, "width", reading), _number(manifest, "height", reading))
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
        raise reading.bad("has a manifest without a list of layers")
    if len(layers) > MAX_LAYERS:
        raise reading.bad(f"has more than {MAX_LAYERS} layers")
    for entry in layers:
        provenance(entry, reading)
    return manifest


def provenance(entry: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The fields of `Layer` in a manifest's entry that tell how it came to be: id, role, part, box, prompt, seed, …"""
    kinds: dict[str, Any] = {"id": str, "role": str, "part": str, "prompt": str, "seed": int, "model": dict, "parameters": dict}
    facts = {field: typed(entry, field, kind, reading) for field, kind in kinds.items()}
    box = typed(entry, "box", list, reading)
    try:
        facts["box"] = None if box is None else Box.of(box)
    except (BadInput, OverflowError):
        raise reading.bad(f"has a layer with the box {box!r}") from None
    return {field: value for field, value in facts.items() if value is not None}


def provenance_at(entry: Mapping[str, Any], place: tuple[int, int, int, int], reading: Reading) -> dict[str, Any]:
    """As `provenance`, of a layer that now lies at `place` (x, y, width, height): when it was moved, its box was, too."""
    facts, (x, y, *size) = provenance(entry, reading), place
    if "box" in facts and size == [entry.get("width"), entry.get("height")]:
        facts["box"] = facts["box"].shifted(x - _number(entry, "x", reading), y - _number(entry, "y", reading))
    return facts


def appearance(entry: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The fields of `Layer` that tell how it looks: name, x, y, opacity, blend_mode, visible, group."""
    kinds: dict[str, Any] = {"name": str, "opacity": (int, float), "blend_mode": str, "visible": bool, "group": str}
    facts = {field: typed(entry, field, kind, reading) for field, kind in kinds.items()}
    facts |= {"x": _number(entry, "x", reading), "y": _number(entry, "y", reading)}
    return {field: value for field, value in facts.items() if value is not None}


def build(reading: Reading, rgba: Any, facts: Mapping[str, Any]) -> Layer:
    """A `Layer` whose errors name the document."""
    try:
        return Layer(rgba, **facts)
    except BadInput as error:
        raise reading.bad(f"has a layer whose {error.key} {error.rule}") from None


def assemble(reading: Reading, width: int, height: int, layers: list[Layer]) -> LayerStack:
    """A `LayerStack` whose errors name the document."""
    reading.check_canvas(width, height)
    try:
        return LayerStack(width, height, layers)
    except BadInput as error:
        raise reading.bad(f"has a layer whose {error.key} {error.rule}") from None


def groups(stack: LayerStack) -> Iterator[tuple[str | None, list[tuple[int, Layer]]]]:
    """Runs of neighbours in the same group, from bottom to top: the group's name, or None, and (position, layer) of each."""
    for name, run in groupby(enumerate(stack), key=lambda item: item[1].group):
        yield name, list(run)


def _number(entry: Mapping[str, Any], field: str, reading: Reading) -> int:
    value = typed(entry, field, int, reading)
    if value is None or abs(value) >= 2**31:
        raise reading.bad(f"has a manifest whose {field} is not a whole number of pixels")
    return int(value)


def typed(entry: Mapping[str, Any], field: str, kind: Any, reading: Reading) -> Any:
    """A field of a manifest, None when absent. Raises `BadInput` when it is of another kind."""
    value = entry.get(field)
    if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise reading.bad(f"has a manifest whose {field} is {value!r}"[:160])
    return value
