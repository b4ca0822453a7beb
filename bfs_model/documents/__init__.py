"""Documents: a `LayerStack` as .psd, .ora, .zip or .png, and back."""

from pathlib import Path
from typing import Any

from bfs_model.documents import archive, openraster, png, psd
from bfs_model.documents.manifest import Reading
from bfs_model.documents.zips import Unpacker
from bfs_model.errors import BadInput
from bfs_model.files import writable, write_whole
from bfs_model.images import MAX_PIXELS
from bfs_model.layers import Layer, LayerStack

_WRITERS = {".psd": psd.write, ".ora": openraster.write, ".zip": archive.write, ".png": png.write}
MEDIA_TYPES = {".psd": "image/vnd.adobe.photoshop", ".ora": "image/openraster", ".zip": "application/zip", ".png": "image/png"}
MAX_BYTES = 2**30


def encode(stack: LayerStack, suffix: str) -> bytes:
    """A stack as the bytes of a file with this suffix. Raises `BadInput` for an unknown suffix."""
    return _WRITERS[_known(suffix, suffix)](stack)


def save(stack: LayerStack, path: Path | str) -> Path:
    """Write a stack to `path`; see `LayerStack.save`."""
    suffix = _known(Path(path).suffix, path)
    writable(path)
    return write_whole(path, encode(stack, suffix))


def check_size(path: Path | str, width: int, height: int) -> None:
    """Refuse, before anything is drawn, a canvas that the format of `path` cannot hold. Raises `BadInput`."""
    if Path(path).suffix.lower() == ".psd":
        psd.check_size(width, height)


def save_layer(stack: LayerStack, layer: Layer, path: Path | str) -> Path:
    """Write one layer alone as an RGBA .png on the whole canvas, with its prompt, seed, model and box inside."""
    if Path(path).suffix.lower() != ".png":
        raise BadInput("output", path, "is not a .png", "give a path that ends in .png, or save the whole document")
    return write_whole(path, png.write_layer(stack, layer))


def decode(data: bytes, *, shown: str | None = None, max_pixels: int = MAX_PIXELS) -> LayerStack:
    """Restore a stack from the bytes of a .zip, .ora or .psd; the content decides which. `shown` names it in errors.

    PSDs are parsed by a large library: do not feed it bytes from strangers outside a process of its own.
    """
    reading = Reading(shown or f"<{len(data)} bytes>", max_pixels)
    kind = _kind(data, reading)
    if kind is png:
        raise reading.bad("is one flat picture, not a document with layers", "give a .zip, .ora or .psd")
    stack: LayerStack = kind.read(data, reading)
    return stack


def load(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> LayerStack:
    """Restore a stack from a file; see `LayerStack.open`."""
    return decode(_read(path), shown=str(path), max_pixels=max_pixels)


def read_manifest(source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """What a .zip, .ora, .psd or .png of ours says about itself: size, and per layer name, box, prompt, seed, model, parameters.

    Raises `BadInput` when the file is damaged or somebody else's.
    """
    data = source if isinstance(source, bytes) else _read(source)
    reading = Reading(f"<{len(data)} bytes>" if isinstance(source, bytes) else str(source), max_pixels)
    manifest: dict[str, Any] = _kind(data, reading).read_manifest(data, reading)
    return manifest


def _kind(data: bytes, reading: Reading) -> Any:
    """The module for these bytes, by their first ones."""
    if data.startswith(b"8BPS"):
        return psd
    if data.startswith(b"\x89PNG"):
        return png
    if data.startswith(b"PK\x03\x04"):
        return openraster if "stack.xml" in Unpacker(data, reading) else archive
    raise reading.bad("is not a document", "give a .zip, .ora or .psd")


def _known(suffix: str, shown: Path | str) -> str:
    if suffix.lower() not in _WRITERS:
        raise BadInput("output", shown, "has a suffix that is not known", f"use one of {', '.join(_WRITERS)}")
    return suffix.lower()


def _read(path: Path | str) -> bytes:
    try:
        file = Path(path)
        if not file.is_file():
            raise BadInput("document", path, "is not a file" if file.exists() else "does not exist", "give the path of a document")
        if file.stat().st_size > MAX_BYTES:
            raise BadInput("document", path, f"is larger than {MAX_BYTES // 2**20} MiB", "split it into smaller documents")
        return file.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("document", path, f"cannot be read ({error})", "give the path of a document") from None
