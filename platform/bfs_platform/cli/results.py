"""Where results go: checked before any work is done, written whole or not at all."""

from pathlib import Path
from typing import Any

from PIL import Image

from bfs_model.boxes import Box
from bfs_model.errors import BadInput
from bfs_model.files import writable, write_whole

LAYER_SUFFIXES = (".png", ".psd", ".ora", ".zip")


def check_outputs(output: Path, composite: Path | None, *inputs: Path) -> None:
    """Refuse paths that cannot be written, have an unknown suffix, or would overwrite each other or an input."""
    _suffix(output, "output", LAYER_SUFFIXES)
    writable(output, key="output")
    if composite is not None:
        _suffix(composite, "composite", (".png",))
        if composite.resolve() == output.resolve():
            raise BadInput("composite", composite, "is the output as well", "give it a path of its own")
        writable(composite, key="composite")
    for key, path in (("output", output), ("composite", composite)):
        if path is not None and path.resolve() in [source.resolve() for source in inputs]:
            raise BadInput(key, path, "is an input as well", "write the result somewhere else")


def write_layer(output: Path, background: Image.Image, foreground: Image.Image, name: str, facts: dict[str, Any]) -> None:
    """Write a layer: alone on the full canvas as .png, or over its background as a layered document.

    Args: `facts` are fields of `bfs_model.layers.Layer`: box, prompt, seed, model, parameters.
    """
    from bfs_model import LayerStack, documents

    stack = LayerStack.new(background)
    layer = stack.add(foreground, name=name or None, **facts)
    if output.suffix.lower() == ".png":
        documents.save_layer(stack, layer, output)
    else:
        stack.save(output)


def write_composite(path: Path, picture: Image.Image) -> None:
    """Write the flat picture as .png."""
    from bfs_model.images import png_bytes

    write_whole(path, png_bytes(picture.convert("RGB")), key="composite")


def summary_text(summary: dict[str, Any]) -> str:
    """`key  value` lines for reading; values that are absent are left out."""
    shown = {key: value for key, value in summary.items() if value is not None}
    return "\n".join(f"{key:<10} {_plain(value)}" for key, value in shown.items())


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value.get("version") or value["name"]) if isinstance(value, dict) else str(value)


def _suffix(path: Path, key: str, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        raise BadInput(key, path, "has a suffix that is not known", f"use one of {', '.join(known)}")


def canvas(box: Box, picture: Image.Image) -> dict[str, Any]:
    """The part of a summary that says where the layer lies."""
    return {"box": list(box), "size": [picture.width, picture.height]}
