"""The canonical document: a zip of one straight sRGB RGBA PNG per layer, a manifest, and the flattened picture.

Everything else (PSD, OpenRaster, PNG) is an export of it. Nothing is lost on the way in and out.
"""

import hashlib

from bfs_model.document.file import Format
from bfs_model.document.format import manifest as m
from bfs_model.document.format.pixels import decode, encode
from bfs_model.document.format.zips import ZIP, Unpacker, pack
from bfs_model.document.layer import Layer, printable
from bfs_model.document.layers import LayerStack
from bfs_model.integrity import IntegrityError
from bfs_model.picture.images import png_bytes

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
    described = m.loads(_described(archive, reading), reading)
    left = reading.max_layer_pixels or PIXEL_BUDGET * reading.max_pixels
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
    return m.loads(_described(Unpacker(data, reading), reading), reading)


def _described(archive: Unpacker, reading: m.Reading) -> bytes:
    """The manifest. Raises `BadInput` for a zip of something else, which says by its `mimetype` what it is, if it does."""
    if MANIFEST in archive:
        return archive.read(MANIFEST)
    kind = printable(archive.read("mimetype").decode("ascii", "replace"))[:80] if "mimetype" in archive else ""
    rule = f"is a zip{f' of {kind}' if kind else ''} and no document: it holds neither the {MANIFEST} of BFS nor OpenRaster's stack.xml"
    raise reading.bad(rule, "give a .zip of BFS, or save it as .ora or .psd where it was made")


def _file(position: int) -> str:
    return f"layers/{position:03d}.png"


def _recognises(data: bytes, reading: m.Reading) -> bool:
    return data.startswith(ZIP) and "stack.xml" not in Unpacker(data, reading)


FORMAT = Format(".zip", _recognises, write, read_manifest, read)
