"""Pictures and documents on their way to the service: from a path, bytes or a PIL image to what is sent."""

import base64
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput

Source = Any
"""A picture or document: a path, bytes, or a PIL image."""


def read(source: Source, key: str) -> tuple[str, bytes]:
    """A file name and the bytes of a picture or document. Raises `BadInput`, which calls it `key`, when there is none."""
    if isinstance(source, bytes | bytearray):
        return key, bytes(source)
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            path = path.expanduser()
            return path.name.encode("utf-8", "replace").decode(), path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of nobody
            reason = getattr(error, "strerror", None) or error
            raise BadInput(key, path, f"cannot be read ({reason})", "name a file") from None
    if hasattr(source, "save"):
        from bfs_model.picture.images import png_bytes, read_image

        return f"{key}.png", png_bytes(read_image(source, key=key).pil())  # upright, and in sRGB
    raise BadInput(key, type(source).__name__, "is no picture", "give a path, bytes or a PIL image")


def encoded(source: Source, key: str) -> str:
    """The same in base64, as JSON carries it."""
    return base64.b64encode(read(source, key)[1]).decode()


def form_text(value: Any) -> str:
    """A field as a form carries it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
