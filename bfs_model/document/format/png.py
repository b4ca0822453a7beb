"""Flat PNGs that remember: the flattened picture, or one layer on the full canvas, with the manifest as iTXt."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from bfs_model.document.file import Format
from bfs_model.document.format import manifest as m
from bfs_model.document.format import xmp
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.picture import png
from bfs_model.picture.images import png_bytes

KEYWORD = "bfs"


def write(stack: LayerStack) -> bytes:
    """The flattened picture."""
    return annotate(png_bytes(stack.flatten()), stack)


def write_layer(stack: LayerStack, layer: Layer) -> bytes:
    """One layer alone, RGBA on the whole canvas; its own pixels, whatever its opacity and visibility."""
    return annotate(png_bytes(layer.on_canvas(stack.width, stack.height)), stack, layer)


def annotate(picture: bytes, stack: LayerStack, layer: Layer | None = None) -> bytes:
    """A PNG that shows `stack`, or one layer of it on the whole canvas, with the manifest inside; its pixels stay as they are."""
    described = m.describe(stack)
    if layer is not None:
        described["layers"] = [entry for entry in described["layers"] if entry["id"] == layer.id]
    return png.annotated(picture, _text(described))


def read_manifest(data: bytes, reading: m.Reading) -> dict[str, Any]:
    """The manifest inside a PNG that `write` or `write_layer` made."""
    try:
        if not data.startswith(png.SIGNATURE):
            raise SyntaxError("no PNG")
        # Another program may have written long texts beside ours, for which Pillow would refuse the file.
        with Image.open(io.BytesIO(png.strip(data, KEYWORD).data), formats=("PNG",)) as image:
            text = image.info.get(KEYWORD)
    except Exception as error:  # decoders raise anything on hostile bytes
        raise reading.bad(f"is not a readable PNG ({type(error).__name__})") from None
    if not isinstance(text, str):
        raise reading.bad("was not written by BFS, or its metadata was removed", "use the .zip, .psd or .ora of the same document")
    return m.loads(text, reading)


def _text(described: Mapping[str, Any]) -> dict[str, str]:
    return {"Software": described["written_by"], KEYWORD: m.dumps(described), "XML:com.adobe.xmp": xmp.packet(described)}


def _recognises(data: bytes, reading: m.Reading) -> bool:
    return data.startswith(b"\x89PNG")


FORMAT = Format(".png", _recognises, write, read_manifest, write_layer=write_layer)
