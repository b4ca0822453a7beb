"""Documents as files: which formats there are, which one a path or some bytes mean, and the way there and back.

A format is one module of `document.format` that calls itself by `FORMAT`; nothing else names it but `_MODULES` here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.files import writable, write_whole
from bfs_model.picture.images import MAX_PIXELS

# In the order in which they are told to people.
_MODULES = ("psd", "openraster", "archive", "png")
MAX_BYTES = 2**30
_REMEDY = "export the document again, or open another copy"


@dataclass(frozen=True, slots=True)
class Reading:
    """What readers need to know: how to name the file in errors, how many pixels a canvas may have, and all layers of a document
    together; 0: eight times as many as a canvas."""

    shown: str
    max_pixels: int
    max_layer_pixels: int = 0

    def bad(self, rule: str, remedy: str = _REMEDY) -> BadInput:
        return BadInput("document", self.shown, rule, remedy)

    def check_canvas(self, width: int, height: int) -> None:
        if width < 1 or height < 1 or width * height > self.max_pixels:
            raise self.bad(f"has a canvas of {width}x{height} pixels; 1 to {self.max_pixels:,} are allowed", "scale it down")


@dataclass(frozen=True, slots=True)
class Format:
    """One file format. Stacks are `LayerStack`s, layers `Layer`s: they stand above this module, which only passes them on.

    `recognises(data, reading)`: whether bytes are of this format. `read` is None where the file keeps no layers; `write_layer`
    is there where a file can hold one layer alone; `check_size(width, height)` raises `BadInput` for canvases that it cannot hold.

    Example:

        FORMAT = Format(".psd", lambda data, reading: data.startswith(b"8BPS"), write, read_manifest, read, check_size=check_size)
    """

    suffix: str
    recognises: Callable[[bytes, Reading], bool]
    write: Callable[[Any], bytes]
    read_manifest: Callable[[bytes, Reading], dict[str, Any]]
    read: Callable[[bytes, Reading], Any] | None = None
    write_layer: Callable[[Any, Any], bytes] | None = None
    check_size: Callable[[int, int], None] | None = None
    read_size: Callable[[bytes, Reading], tuple[int, int]] | None = None
    """Of the canvas, where others write such files too; else the manifest says it."""


@cache
def formats() -> dict[str, Format]:
    """All formats by suffix. They are imported on the first call."""
    found = [import_module(f"bfs_model.document.format.{module}").FORMAT for module in _MODULES]
    return {entry.suffix: entry for entry in found}


def encode(stack: Any, suffix: str) -> bytes:
    """A stack as the bytes of a file with this suffix. Raises `BadInput` for an unknown suffix."""
    return _format(suffix, suffix).write(stack)


def save(stack: Any, path: Path | str) -> Path:
    """Write a stack to `path`; see `LayerStack.save`."""
    chosen = _format(Path(path).suffix, path)
    writable(path)
    return write_whole(path, chosen.write(stack))


def check_size(path: Path | str, width: int, height: int) -> None:
    """Refuse, before anything is drawn, a canvas that the format of `path` cannot hold. Raises `BadInput`."""
    chosen = formats().get(Path(path).suffix.lower())
    if chosen is not None and chosen.check_size is not None:
        chosen.check_size(width, height)


def save_layer(stack: Any, layer: Any, path: Path | str) -> Path:
    """Write one layer alone as an RGBA .png on the whole canvas, with its prompt, seed, model and box inside."""
    chosen = formats().get(Path(path).suffix.lower())
    if chosen is None or chosen.write_layer is None:
        raise BadInput("output", path, "is not a .png", "give a path that ends in .png, or save the whole document")
    return write_whole(path, chosen.write_layer(stack, layer))


def decode(data: bytes, *, shown: str | None = None, max_pixels: int = MAX_PIXELS, max_layer_pixels: int = 0) -> Any:
    """Restore a `LayerStack` from the bytes of a .zip, .ora or .psd; the content decides which. `shown` names it in errors.

    `max_pixels` of the canvas, `max_layer_pixels` of all layers of a .zip or .ora together (0: eight times as many): blank ones weigh
    next to nothing in a file and four bytes a pixel afterwards. PSDs are parsed by a large library: do not feed it bytes from strangers
    outside a process of its own.
    """
    reading = Reading(shown or f"<{len(data)} bytes>", max_pixels, max_layer_pixels)
    read = _recognised(data, reading).read
    if read is None:
        raise reading.bad("is one flat picture, not a document with layers", "give a .zip, .ora or .psd")
    return read(data, reading)


def keeps_layers(path: Path | str) -> bool:
    """Whether a file of ours, of whatever name, keeps layers apart. Raises `BadInput` for what is no document at all."""
    data = _read(path)
    return _recognised(data, Reading(str(path), MAX_PIXELS)).read is not None


def load(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Any:
    """Restore a `LayerStack` from a file; see `LayerStack.open`."""
    return decode(_read(path), shown=str(path), max_pixels=max_pixels)


def read_manifest(source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """What a .zip, .ora, .psd or .png of ours says about itself: size, and per layer name, box, prompt, seed, model, parameters.

    Raises `BadInput` when the file is damaged or somebody else's.
    """
    data = source if isinstance(source, bytes) else _read(source)
    reading = Reading(f"<{len(data)} bytes>" if isinstance(source, bytes) else str(source), max_pixels)
    return _recognised(data, reading).read_manifest(data, reading)


def read_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the canvas of a document. Raises `BadInput` when it cannot be read."""
    reading = Reading(f"<{len(data)} bytes>", max_pixels)
    found = _recognised(data, reading)
    if found.read_size is not None:
        return found.read_size(data, reading)
    described = found.read_manifest(data, reading)
    return int(described["width"]), int(described["height"])


def _recognised(data: bytes, reading: Reading) -> Format:
    """The format of these bytes."""
    for entry in formats().values():
        if entry.recognises(data, reading):
            return entry
    raise reading.bad("is not a document", "give a .zip, .ora or .psd")


def _format(suffix: str, shown: Path | str) -> Format:
    if suffix.lower() not in formats():
        raise BadInput("output", shown, "has a suffix that is not known", f"use one of {', '.join(formats())}")
    return formats()[suffix.lower()]


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
