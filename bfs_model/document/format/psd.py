"""Photoshop documents, by psd-tools.

The recipe that Photoshop, GIMP, Krita and Pillow read alike: a header of three channels, real layer transparency (no
mask), names set after the layer exists (the writer's legacy field is Mac Roman), RLE everywhere, the sRGB profile, and
a merged picture of our own: psd-tools needs its `composite` extra for one and writes a blank picture without.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.document.file import Format
from bfs_model.document.format import manifest as m
from bfs_model.document.format import xmp
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.colour import srgb_profile, to_srgb

MAX_SIDE = 30_000
_FOREIGN = "only PSD files written by BFS are read; open it in an editor and save it as OpenRaster (.ora)"


def write(stack: LayerStack) -> bytes:
    """The PSD as bytes; equal stacks give equal bytes. Raises `BadInput` when it is too large or psd-tools is missing."""
    psd_tools = _psd_tools()
    from psd_tools.constants import BlendMode, Compression, Resource, Tag
    from psd_tools.psd.image_resources import ImageResource

    check_size(stack.width, stack.height)
    for layer in stack:
        check_size(layer.width, layer.height)
    modes = {"normal": BlendMode.NORMAL, "multiply": BlendMode.MULTIPLY, "screen": BlendMode.SCREEN}
    document = psd_tools.PSDImage.new("RGB", (stack.width, stack.height), color=255, compression=Compression.RLE)
    for number, (group, members) in enumerate(m.groups(stack), start=len(stack) + 1):
        parent = document if group is None else document.create_group()
        if group is not None:
            parent.name = group
            parent.tagged_blocks.set_data(Tag.LAYER_ID, number)
        for position, layer in members:
            pixels = parent.create_pixel_layer_from_array(
                np.ascontiguousarray(layer.rgba),
                top=layer.y,
                left=layer.x,
                opacity=_level(layer.opacity),
                blend_mode=modes[layer.blend_mode],
                compression=Compression.RLE,
            )
            pixels.name = layer.name
            pixels.visible = layer.visible
            pixels.tagged_blocks.set_data(Tag.LAYER_ID, position + 1)
    described = m.describe(stack, lambda position, _: {"psd_layer_id": position + 1})
    packet = xmp.packet(described, m.dumps(described, ascii_only=True))
    for key, data in ((Resource.ICC_PROFILE, srgb_profile()), (Resource.XMP_METADATA, packet.encode())):
        document.image_resources[key] = ImageResource(key=key, data=data)
    record = document._record  # psd-tools' documented low-level record; `save` would render the merged picture itself
    record.image_data.set_data(_merged(stack), record.header)
    out = io.BytesIO()
    record.write(out)
    return out.getvalue()


def check_size(width: int, height: int) -> None:
    """Raises `BadInput` for a canvas, or a layer, that a PSD cannot hold."""
    if max(width, height) > MAX_SIDE:
        rule = f"is more than {MAX_SIDE} pixels a side, the limit of PSD for canvas and layers"
        raise BadInput("output", f"{width}x{height}", rule, "write an .ora or .zip")


def read(data: bytes, reading: m.Reading) -> LayerStack:
    """Restore a stack from a PSD that `write` made, also when its layers were moved, renamed, hidden or reordered since.

    Groups keep their names, inner ones as `outer / inner`; the layers of a hidden group are hidden. Raises `BadInput` for
    other PSDs, and for what a stack cannot hold: groups with a look of their own, masks, effects, further blend modes.
    """
    document = _open(data, reading)
    described = _manifest(document, reading)
    known = {m.typed(entry, "psd_layer_id", int, reading): entry for entry in described["layers"]}
    icc = document.image_resources.get_data(_resource("ICC_PROFILE"))
    taken: set[int] = set()
    layers = []
    for pixels, group_facts in _flat_layers(document, reading):
        number = pixels.layer_id
        entry = known.get(number) if number not in taken else None  # a copy made in an editor may keep the number
        taken.add(number)
        layers.append(_layer(pixels, entry, icc, group_facts, reading))
    return m.assemble(reading, document.width, document.height, layers)


def read_manifest(data: bytes, reading: m.Reading) -> dict[str, object]:
    """Only the manifest, as it was written."""
    return _manifest(_open(data, reading), reading)


def _flat_layers(parent: Any, reading: m.Reading, groups: tuple[str, ...] = (), hidden: bool = False) -> list[tuple[Any, dict[str, Any]]]:
    """The layers from bottom to top, and what their groups make of them; groups must do nothing else of their own."""
    group_facts: dict[str, Any] = {"group": " / ".join(groups) or None} | ({"visible": False} if hidden else {})
    found: list[tuple[Any, dict[str, Any]]] = []
    for item in parent:
        if item.kind != "group":
            found.append((item, group_facts))
            continue
        plain = item.blend_mode.name == "PASS_THROUGH" and item.opacity == 255 and not item.clipping and not item.has_effects()
        if not plain or item.has_mask() or item.has_vector_mask() or len(groups) > 32:
            raise reading.bad(f"has the group {item.name!r}, which changes how its layers look", "merge it in the editor")
        found += _flat_layers(item, reading, (*groups, item.name or "Group"), hidden or not item.visible)
    return found


def _layer(pixels: Any, entry: dict[str, Any] | None, icc: bytes | None, group_facts: dict[str, Any], reading: m.Reading) -> Layer:
    modes = {"NORMAL": "normal", "MULTIPLY": "multiply", "SCREEN": "screen"}
    if pixels.kind != "pixel" or pixels.has_mask() or pixels.has_vector_mask() or pixels.has_effects() or pixels.clipping:
        raise reading.bad(f"has the layer {pixels.name!r}, which is more than pixels", "rasterise and merge it in the editor")
    if pixels.blend_mode.name not in modes:
        raise reading.bad(f"has the layer {pixels.name!r} in mode {pixels.blend_mode.name.lower()}", "merge it in the editor")
    facts = {} if entry is None else m.provenance_at(entry, (pixels.left, pixels.top, pixels.width, pixels.height), reading)
    # Eight bits hold fewer opacities than we do: keep the exact one as long as nobody changed it.
    exact = None if entry is None else m.appearance(entry, reading).get("opacity")
    # A second opacity, which fills: of plain pixels in these modes the two are one.
    fill = pixels.fill_opacity
    opacity = exact if exact is not None and fill == 255 and _level(exact) == pixels.opacity else pixels.opacity / 255 * fill / 255
    facts |= {"name": pixels.name, "x": pixels.left, "y": pixels.top, "opacity": opacity}
    facts |= {"blend_mode": modes[pixels.blend_mode.name], "visible": pixels.visible}
    return m.build(reading, _pixels(pixels, icc, reading), facts | group_facts)


def _pixels(layer: Any, icc: bytes | None, reading: m.Reading) -> np.ndarray:
    """uint8 [h, w, 4]; a layer without a transparency channel is opaque, one without pixels is one clear pixel."""
    if layer.width * layer.height > reading.max_pixels:
        raise reading.bad(f"has a layer of {layer.width}x{layer.height} pixels, more than {reading.max_pixels:,}")
    if layer.width * layer.height == 0:
        return np.zeros((1, 1, 4), np.uint8)
    try:
        image = layer.topil(apply_icc=False)
    except Exception as error:  # see _open
        raise reading.bad(f"has a damaged layer ({type(error).__name__})") from None
    if image is None or image.mode not in ("RGB", "RGBA"):
        raise reading.bad("has a layer without readable colours", _FOREIGN)
    rgb = np.asarray(to_srgb(image.convert("RGB"), icc))
    alpha = np.asarray(image.getchannel("A")) if image.mode == "RGBA" else np.full(rgb.shape[:2], 255, np.uint8)
    return np.dstack([rgb, alpha])


def _open(data: bytes, reading: m.Reading) -> Any:
    psd_tools = _psd_tools()
    # Pixels are decoded layer by layer later; four float32 channels and their intermediates per pixel.
    budget = 64 * reading.max_pixels
    try:
        limits = psd_tools.ParseLimits(max_total_bytes=4 * len(data) + 2**20, max_objects=200_000)
        document = psd_tools.PSDImage.open(io.BytesIO(data), max_alloc_bytes=budget, parse_limits=limits)
    except Exception as error:  # psd-tools raises whatever a damaged structure leads to
        raise reading.bad(f"is not a readable PSD ({type(error).__name__})") from None
    if (document.color_mode.name, document.depth, document.version) != ("RGB", 8, 1):
        raise reading.bad("is not an 8-bit RGB document", _FOREIGN)
    reading.check_canvas(document.width, document.height)
    if sum(item.kind != "group" for item in document.descendants()) > m.MAX_LAYERS:
        raise reading.bad(f"has more than {m.MAX_LAYERS} layers")
    return document


def _manifest(document: Any, reading: m.Reading) -> dict[str, Any]:
    packet = document.image_resources.get_data(_resource("XMP_METADATA"))
    text = xmp.manifest_text(packet) if isinstance(packet, bytes) else None
    if text is None:
        raise reading.bad("was not written by BFS", _FOREIGN)
    return m.loads(text, reading)


def _merged(stack: LayerStack) -> list[bytes]:
    """The flattened picture over white, one plane per channel: what file managers and simple programs show."""
    flat = stack.flatten()
    if flat.mode == "RGBA":
        white = Image.new("RGBA", flat.size, "white")
        flat = Image.alpha_composite(white, flat).convert("RGB")
    return [plane.tobytes() for plane in flat.split()]


def _level(opacity: float | int) -> int:
    return round(opacity * 255)


def _resource(name: str) -> Any:
    from psd_tools.constants import Resource

    return Resource[name]


def _psd_tools() -> Any:
    try:
        import psd_tools
    except ImportError:
        raise BadInput("format", "psd", "needs the package psd-tools", "pip install 'bfs[documents]', or use .ora or .zip") from None
    return psd_tools


def _recognises(data: bytes, reading: m.Reading) -> bool:
    return data.startswith(b"8BPS")


FORMAT = Format(".psd", _recognises, write, read_manifest, read, check_size=check_size)
