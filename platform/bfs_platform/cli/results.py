"""Where results go: checked before any work is done, written whole or not at all."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.files import writable, write_whole
from bfs_model.picture.boxes import Box
from bfs_platform.console.screen import say

PARTS: tuple[Literal["object", "effects"], ...] = ("object", "effects")
LAYER_SUFFIXES = (".png", ".psd", ".ora", ".zip")


def part_paths(output: Path) -> dict[str, Path]:
    """Where the parts of a layer go that is written as .png: layer.png -> layer_object.png, layer_effects.png."""
    return {part: output.with_name(f"{output.stem}_{part}{output.suffix}") for part in PARTS}


def check_outputs(output: Path, composite: Path | None, *inputs: Path, split: bool = False) -> None:
    """Refuse paths that cannot be written, have an unknown suffix, or would overwrite each other or an input."""
    _suffix(output, "output", LAYER_SUFFIXES)
    writable(output, key="output")
    if output.suffix.lower() == ".psd" and find_spec("psd_tools") is None:
        remedy = "pip install 'bfs[documents]', or choose .ora or .zip"
        raise BadInput("output", output, "needs psd-tools, which plain bfs does without", remedy)
    if composite is not None:
        _suffix(composite, "composite", (".png",))
        if _place(composite) == _place(output):
            raise BadInput("composite", composite, "is the output as well", "give it a path of its own")
        writable(composite, key="composite")
    parts = part_paths(output).values() if split and output.suffix.lower() == ".png" else ()
    for part in parts:
        writable(part, key="output")
        if composite is not None and _place(composite) == _place(part):
            raise BadInput("composite", composite, "is a part of the output as well", "give it a path of its own")
    for key, path in (("output", output), ("composite", composite), *(("output", part) for part in parts)):
        if path is not None and writable(path, key=key) in [_place(source) for source in inputs]:
            raise BadInput(key, path, "is an input as well", "write the result somewhere else")


def _place(path: Path) -> Path:
    """Where a path leads; one that leads nowhere, to itself: who reads it says what is wrong with it."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError):  # ~ of nobody, links in a circle
        return path


def write_layer(
    output: Path, background: Image.Image, foreground: Image.Image, name: str, facts: dict[str, Any], split: bool = False
) -> None:
    """Write a layer: alone on the full canvas as .png, or over its background as a layered document.

    Args: `facts` are fields of `bfs_model.document.layer.Layer`: box, prompt, seed, model, parameters. `split`: object and effects
    as two layers in a group; beside a .png, which is the whole layer all the same, as two more files.
    """
    from bfs_model import LayerStack
    from bfs_model.document import file as documents

    stack = LayerStack.new(background)
    layer = stack.add(foreground, name=name or None, **facts)
    if output.suffix.lower() == ".png":
        documents.save_layer(stack, layer, output)
        if split:
            _save_parts(stack, layer.id, output)
        return
    if split:
        stack.split_effects(layer.id)
    stack.save(output)


def _save_parts(stack: Any, layer_id: str, output: Path) -> None:
    from bfs_model.document import file as documents

    for part in stack.split_effects(layer_id):
        documents.save_layer(stack, part, part_paths(output)[part.part])


def say_warnings(warnings: list[str]) -> None:
    """What to know before using a result, on stderr."""
    for warning in warnings:
        say(f"warning: {warning}")


def write_composite(path: Path, picture: Image.Image) -> None:
    """Write the flat picture as .png."""
    from bfs_model.picture.images import png_bytes

    write_whole(path, png_bytes(picture.convert("RGB")), key="composite")


def summary_text(summary: dict[str, Any]) -> str:
    """`key  value` lines for reading; values that are absent are left out, and warnings, which are said."""
    shown = {key: value for key, value in summary.items() if value is not None and value != [] and key != "warnings"}
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
