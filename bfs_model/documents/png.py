"""Flat PNGs that remember: the flattened picture, or one layer on the full canvas, with the manifest as iTXt."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from bfs_model.documents import manifest as m
from bfs_model.documents import xmp
from bfs_model.images import png_bytes
from bfs_model.layers import Layer, LayerStack

KEYWORD = "bfs"


def write(stack: LayerStack) -> bytes:
    """The flattened picture."""
    return png_bytes(stack.flatten(), _text(m.describe(stack)))


def write_layer(stack: LayerStack, layer: Layer) -> bytes:
    """One layer alone, RGBA on the whole canvas; its own pixels, whatever its opacity and visibility."""
    described = m.describe(stack)
    described["layers"] = [entry for entry in described["layers"] if entry["id"] == layer.id]
    return png_bytes(layer.on_canvas(stack.width, stack.height), _text(described))


def read_manifest(data: bytes, reading: m.Reading) -> dict[str, Any]:
    """The manifest inside a PNG that `write` or `write_layer` made."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            text = image.info.get(KEYWORD)
    except Exception as error:  # decoders raise anything on hostile bytes
        raise reading.bad(f"is not a readable PNG ({type(error).__name__})") from None
    if not isinstance(text, str):
        raise reading.bad("was not written by BFS, or its metadata was removed", "use the .zip, .psd or .ora of the same document")
    return m.loads(text, reading)


def _text(described: Mapping[str, Any]) -> dict[str, str]:
    return {"Software": described["written_by"], KEYWORD: m.dumps(described), "XML:com.adobe.xmp": xmp.packet(described)}
