"""OpenRaster, the open exchange format of Krita, MyPaint and GIMP 3 (freedesktop.org, draft 0.0.5)."""

from typing import Any
from xml.etree import ElementTree

from bfs_model.document.file import Format
from bfs_model.document.format import manifest as m
from bfs_model.document.format.archive import PIXEL_BUDGET
from bfs_model.document.format.pixels import decode, encode
from bfs_model.document.format.zips import ZIP, Unpacker, pack
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.picture.images import png_bytes

MIMETYPE = "image/openraster"
MANIFEST = "bfs.json"
THUMBNAIL_SIDE = 256

_OPERATORS = {"normal": "svg:src-over", "multiply": "svg:multiply", "screen": "svg:screen"}
_MODES = {operator: mode for mode, operator in _OPERATORS.items()}
_MERGE = "merge it in the editor"
_GROUP = {"opacity": "1.0", "visibility": "visible", "composite-op": "svg:src-over", "isolation": "auto"}


def write(stack: LayerStack) -> bytes:
    """The .ora as bytes; equal stacks give equal bytes."""
    root = ElementTree.Element("image", w=str(stack.width), h=str(stack.height), version="0.0.5")
    layers = ElementTree.SubElement(root, "stack")
    for group, members in reversed(list(m.groups(stack))):  # the first one in the file is on top
        parent = layers if group is None else ElementTree.SubElement(layers, "stack", _GROUP | {"name": group})
        for position, layer in reversed(members):
            ElementTree.SubElement(parent, "layer", _attributes(position, layer))
    described = m.describe(stack, lambda position, _: {"file": _file(position)})
    flat = stack.flatten()
    thumbnail = flat.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    entries = [
        ("mimetype", MIMETYPE.encode()),  # first and stored: how other programs recognise the file
        ("stack.xml", ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)),
        (MANIFEST, m.dumps(described).encode()),
        ("mergedimage.png", png_bytes(flat)),
        ("Thumbnails/thumbnail.png", png_bytes(thumbnail)),
    ]
    return pack(entries + [(_file(position), encode(layer.rgba)) for position, layer in enumerate(stack)])


def read(data: bytes, reading: m.Reading) -> LayerStack:
    """Read any OpenRaster file of plain layers; one that `write` made comes back with prompts, seeds, models and boxes.

    Groups keep their names, inner ones as `outer / inner`; the layers of a hidden group are hidden. Raises `BadInput` for
    what a stack cannot hold: groups with an opacity, mode or offset of their own, further blend modes.
    """
    archive = Unpacker(data, reading)
    root = _stack_xml(archive, reading)
    width, height = _size(root, reading)
    elements = list(reversed(_flat_layers(root.find("stack"), reading)))
    if len(elements) > m.MAX_LAYERS or not (elements or MANIFEST in archive):
        raise reading.bad(f"has {len(elements)} layers; 1 to {m.MAX_LAYERS} are allowed")
    described = m.loads(archive.read(MANIFEST), reading)["layers"] if MANIFEST in archive else []
    known = {m.typed(entry, "file", str, reading): entry for entry in described}
    left = reading.max_layer_pixels or PIXEL_BUDGET * reading.max_pixels
    layers = []
    for position, (element, group_facts) in enumerate(elements):
        source = element.get("src", "")
        rgba = decode(archive.read(source), reading, left)
        left -= rgba.shape[0] * rgba.shape[1]
        facts = _appearance(element, reading) | group_facts
        if source in known:
            place = facts["x"], facts["y"], rgba.shape[1], rgba.shape[0]
            facts |= m.provenance_at(known.pop(source), place, reading)
        elif position == 0 and rgba.shape[:2] == (height, width) and (rgba[..., 3] == 255).all():
            facts["role"] = "background"
        layers.append(m.build(reading, rgba, facts))
    return m.assemble(reading, width, height, layers)


def read_size(data: bytes, reading: m.Reading) -> tuple[int, int]:
    """Of the canvas; of anybody's file."""
    return _size(_stack_xml(Unpacker(data, reading), reading), reading)


def read_manifest(data: bytes, reading: m.Reading) -> dict[str, Any]:
    """Only the manifest. Raises `BadInput` when another program wrote the file."""
    archive = Unpacker(data, reading)
    if MANIFEST not in archive:
        raise reading.bad("was not written by BFS", "open it as a document: its layers can be read, how they were made cannot")
    return m.loads(archive.read(MANIFEST), reading)


def _size(root: ElementTree.Element, reading: m.Reading) -> tuple[int, int]:
    width, height = _integer(root, "w", reading), _integer(root, "h", reading)
    reading.check_canvas(width, height)
    return width, height


def _attributes(position: int, layer: Layer) -> dict[str, str]:
    return {
        "name": layer.name,
        "src": _file(position),
        "x": str(layer.x),
        "y": str(layer.y),
        "opacity": repr(float(layer.opacity)),
        "visibility": "visible" if layer.visible else "hidden",
        "composite-op": _OPERATORS[layer.blend_mode],
    }


def _appearance(element: ElementTree.Element, reading: m.Reading) -> dict[str, Any]:
    operator = element.get("composite-op", "svg:src-over")
    if operator not in _MODES:
        raise reading.bad(f"has the layer {element.get('name', '')!r} in mode {operator!r}", _MERGE)
    return {
        "name": element.get("name", ""),
        "x": _integer(element, "x", reading, 0),
        "y": _integer(element, "y", reading, 0),
        "opacity": _opacity(element, reading),
        "visible": element.get("visibility", "visible") != "hidden",
        "blend_mode": _MODES[operator],
    }


def _stack_xml(archive: Unpacker, reading: m.Reading) -> ElementTree.Element:
    content = archive.read("stack.xml")
    if len(content) > m.MAX_JSON_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise reading.bad("has a stack.xml that is too large or declares entities")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise reading.bad(f"has a stack.xml that is not XML ({error})") from None
    if root.tag != "image" or root.find("stack") is None:
        raise reading.bad("has a stack.xml without an image and its stack")
    return root


def _flat_layers(
    stack: ElementTree.Element | None, reading: m.Reading, groups: tuple[str, ...] = (), hidden: bool = False
) -> list[tuple[ElementTree.Element, dict[str, Any]]]:
    """The layers in the order of the file, and what their groups make of them; groups must do nothing else of their own."""
    group_facts: dict[str, Any] = {"group": " / ".join(groups) or None} | ({"visible": False} if hidden else {})
    found: list[tuple[ElementTree.Element, dict[str, Any]]] = []
    for element in stack if stack is not None else ():
        if element.tag == "layer":
            found.append((element, group_facts))
        elif element.tag == "stack":
            name = element.get("name", "")
            plain = element.get("composite-op", "svg:src-over") == "svg:src-over" and _opacity(element, reading) == 1
            plain &= {element.get("x", "0"), element.get("y", "0")} == {"0"}
            isolated = element.get("isolation", "auto") == "isolate" and any(
                e.get("composite-op", "svg:src-over") != "svg:src-over" for e in element.iter("layer")
            )
            if not plain or isolated or len(groups) > 32:
                raise reading.bad(f"has the group {name!r}, which changes how its layers look", _MERGE)
            found += _flat_layers(element, reading, (*groups, name or "Group"), hidden or element.get("visibility") == "hidden")
        else:
            raise reading.bad(f"has a layer of kind {element.tag!r}", _MERGE)
    return found


def _integer(element: ElementTree.Element, name: str, reading: m.Reading, default: int | None = None) -> int:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = int(text or "")
    except ValueError:
        value = 2**31
    if abs(value) >= 2**31:
        raise reading.bad(f"has a stack.xml whose {name} is {text!r}, not a whole number of pixels")
    return value


def _opacity(element: ElementTree.Element, reading: m.Reading) -> float:
    text = element.get("opacity", "1.0")
    try:
        return float(text)
    except ValueError:
        raise reading.bad(f"has a layer whose opacity is {text!r}") from None


def _file(position: int) -> str:
    return f"data/{position:03d}.png"


def _recognises(data: bytes, reading: m.Reading) -> bool:
    return data.startswith(ZIP) and "stack.xml" in Unpacker(data, reading)


FORMAT = Format(".ora", _recognises, write, read_manifest, read, read_size=read_size)
