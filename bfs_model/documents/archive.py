"""The canonical document: a zip of one straight sRGB RGBA PNG per layer, a manifest, and the flattened picture.

Everything else (PSD, OpenRaster, PNG) is an export of it. Nothing is lost on the way in and out.
"""

import hashlib

from bfs_model.documents import manifest as m
from bfs_model.documents.pixels import decode, encode
from bfs_model.documents.zips import Unpacker, pack
from bfs_model.images import png_bytes
from bfs_model.integrity import IntegrityError
from bfs_model.layers import Layer, LayerStack

MANIFEST, COMPOSITE = "manifest.json", "composite.png"
PIXEL_BUDGET = 8  # all layers of a document together may have this many times the pixels that a canvas may have


def write(stack: LayerStack) -> bytes:
    """The zip as bytes; equal stacks give equal bytes."""
    pictures = [encode(layer.rgba) for layer in stack]
    composite = png_bytes(stack.flatten())

    def where(position: int, layer: Layer) -> dict[str, str]:
        return {"file": _file(position), "sha256": hashlib.sha256(pictures[position]).hexdigest()}

    described = m.describe(stack, where) | {"composite": {"file": COMPOSITE, "sha256": hashlib.sha256(composite).hexdigest()}}
    entries = [(MANIFEST, m.dumps(described).encode()), (COMPOSITE, composite)]
    return pack(entries + [(_file(position), picture) for position, picture in enumerate(pictures)])


def read(data: bytes, reading: m.Reading) -> LayerStack:
    """Restore a stack. Raises `BadInput` for what is no such zip, `IntegrityError` when a layer is not the one listed."""
    archive = Unpacker(data, reading)
    described = m.loads(archive.read(MANIFEST), reading)
    left = PIXEL_BUDGET * reading.max_pixels
    layers = []
    for entry in described["layers"]:
        name = str(entry.get("file"))
        picture = archive.read(name)
        if hashlib.sha256(picture).hexdigest() != entry.get("sha256"):
            raise IntegrityError(
                "document", reading.shown, f"is damaged: {name} is not the picture that its manifest lists", "use another copy"
            )
        rgba = decode(picture, reading, left)
        left -= rgba.shape[0] * rgba.shape[1]
        layers.append(m.build(reading, rgba, m.provenance(entry, reading) | m.appearance(entry, reading)))
    return m.assemble(reading, described["width"], described["height"], layers)


def read_manifest(data: bytes, reading: m.Reading) -> dict[str, object]:
    """Only the manifest."""
    return m.loads(Unpacker(data, reading).read(MANIFEST), reading)


def _file(position: int) -> str:
    return f"layers/{position:03d}.png"
