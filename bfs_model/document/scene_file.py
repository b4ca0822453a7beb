"""The file of a scene, JSON, paths relative to it, layers from back to front:

    {"background": "room.png", "layers": [{"name": "ball", "box": [30, 60, 90, 120], "prompt": "a red sphere", "seed": 1}]}

A layer is drawn (`box`, `prompt`, `seed`, `steps`, `reference`: a picture of the object, `split_effects`) or given (`image`:
an RGBA picture, `position`: where its top left corner lies, [0, 0] by default). Both kinds take `name`, `opacity` 0 … 1,
`blend_mode` and `visible`. Without a name a layer is called by its prompt, or by its picture's file.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bfs_model.document.layer import MAX_OFFSET, check_text, printable
from bfs_model.document.scene_layer import BACKGROUND as _BACKGROUND
from bfs_model.document.scene_layer import NAME_ROOM, Picture, SceneLayer, first_taken
from bfs_model.errors import BadInput
from bfs_model.picture.blending import BLEND_MODES
from bfs_model.picture.boxes import Box
from bfs_model.picture.images import read_image

MAX_LAYERS = 200
MAX_JSON_BYTES = 2**20
_SCENE_KEYS = ("background", "layers")
_APPEARANCE_KEYS = ("name", "opacity", "blend_mode", "visible")
_DRAWN_KEYS = (*_APPEARANCE_KEYS, "box", "prompt", "seed", "steps", "reference", "split_effects")
_GIVEN_KEYS = (*_APPEARANCE_KEYS, "image", "position")


def read(path: Path) -> tuple[Picture, tuple[SceneLayer, ...]]:
    """Background and layers of a scene, all pictures read. Raises `BadInput` whose key is the place in the file."""
    described = _parsed(path)
    _known_keys(described, _SCENE_KEYS, "")
    if _BACKGROUND not in described:
        raise BadInput(_BACKGROUND, "nothing", "is missing", "name the picture to draw onto")
    background = _picture(described[_BACKGROUND], _BACKGROUND, path.parent)
    entries = described.get("layers", [])
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_LAYERS:
        raise BadInput("layers", _shown(entries), f"is not a list of 1 to {MAX_LAYERS} layers", "describe each layer as an object")
    layers: list[SceneLayer] = []
    for number, entry in enumerate(entries):
        place = f"layers[{number}]"
        if not isinstance(entry, dict):
            raise BadInput(place, _shown(entry), "is not an object", 'for example {"box": [30, 60, 90, 120], "prompt": "a red sphere"}')
        layer = _given(entry, place, path.parent) if "image" in entry else _drawn(entry, place, path.parent, background)
        layers.append(layer)
    if (found := first_taken([layer.name for layer in layers])) is not None:
        number, other = found
        rule = f"is also the name of {_BACKGROUND if other is None else f'layers[{other}]'}, or of a part of it"
        raise BadInput(f"layers[{number}].name", layers[number].name, rule, "give every layer a name of its own")
    return background, tuple(layers)


def _drawn(entry: dict[str, Any], place: str, folder: Path, background: Picture) -> SceneLayer:
    _known_keys(entry, _DRAWN_KEYS, f"{place}.", {"position": "a layer that is drawn has a box instead"})
    for needed in ("box",) if "reference" in entry else ("box", "prompt"):
        if needed not in entry:
            remedy = "give box and prompt, or image" if needed == "box" else "say what to draw, or give a reference"
            raise BadInput(f"{place}.{needed}", "nothing", "is missing", remedy)
    prompt = _text(entry, "prompt", place)
    if "prompt" in entry and not prompt.strip() and "reference" not in entry:
        raise BadInput(f"{place}.prompt", repr(prompt), "is empty", "describe the object in words")
    try:
        box = Box.of(entry["box"]).within(*background.image.size)
    except BadInput as error:
        raise BadInput(f"{place}.box", error.value, error.rule, error.remedy) from None
    reference = _picture(entry["reference"], f"{place}.reference", folder) if "reference" in entry else None
    return SceneLayer(
        name=_name(entry, place, prompt or (reference.file if reference else "")),
        box=box,
        prompt=prompt,
        seed=_whole(entry, "seed", place, 0, 2**32 - 1),
        steps=_whole(entry, "steps", place, 1, 1000),
        reference=reference,
        split_effects=_flag(entry, "split_effects", place, False),
        **_appearance(entry, place),
    )


def _given(entry: dict[str, Any], place: str, folder: Path) -> SceneLayer:
    not_drawn = "a layer that is given as an image is not drawn; remove one of the two"
    _known_keys(entry, _GIVEN_KEYS, f"{place}.", dict.fromkeys(_DRAWN_KEYS, not_drawn))
    image = _picture(entry["image"], f"{place}.image", folder)
    position = entry.get("position", [0, 0])
    if not (isinstance(position, list) and len(position) == 2 and all(type(n) is int and abs(n) <= MAX_OFFSET for n in position)):
        raise BadInput(f"{place}.position", _shown(position), "is not two whole numbers of pixels", "give [x, y] of its top left corner")
    return SceneLayer(
        name=_name(entry, place, Path(image.file).stem), image=image, position=(position[0], position[1]), **_appearance(entry, place)
    )


def _appearance(entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    opacity = entry.get("opacity", 1.0)
    if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise BadInput(f"{place}.opacity", _shown(opacity), "is not a number from 0 to 1")
    mode = entry.get("blend_mode", "normal")
    if mode not in BLEND_MODES:
        raise BadInput(f"{place}.blend_mode", _shown(mode), "is not a blend mode", _nearest(mode, BLEND_MODES))
    if entry.get("split_effects") is True and mode != "normal":
        raise BadInput(f"{place}.split_effects", "true", f"cannot be had in blend mode {mode}", "use normal")
    return {"opacity": opacity, "blend_mode": mode, "visible": _flag(entry, "visible", place, True)}


def _name(entry: Mapping[str, Any], place: str, default: str) -> str:
    name = printable(_text(entry, "name", place) if "name" in entry else default)
    if "name" not in entry:
        name = name[:NAME_ROOM].rstrip()
    if not 1 <= len(name) <= NAME_ROOM:
        raise BadInput(f"{place}.name", _shown(name), f"is not a name of 1 to {NAME_ROOM} characters", "choose another one")
    return name


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise BadInput(f"{place}.{key}", _shown(value), "is not text", 'write it in quotes: "…"')
    check_text(f"{place}.{key}", value)
    return value


def _whole(entry: Mapping[str, Any], key: str, place: str, low: int, high: int) -> int | None:
    value = entry.get(key)
    if value is not None and (type(value) is not int or not low <= value <= high):
        raise BadInput(f"{place}.{key}", _shown(value), f"is not a whole number from {low} to {high}")
    return value


def _flag(entry: Mapping[str, Any], key: str, place: str, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise BadInput(f"{place}.{key}", _shown(value), "is neither true nor false")
    return value


def _picture(value: Any, key: str, folder: Path) -> Picture:
    if not isinstance(value, str) or not value:
        raise BadInput(key, _shown(value), "is not the path of a picture", "write it relative to the scene file")
    path = folder / value
    image = read_image(path, key=key)
    with contextlib.suppress(RuntimeError):  # ~ of nobody; then it was a folder of that name that was read
        path = path.expanduser()
    return Picture(image.pil(), path, hashlib.sha256(path.read_bytes()).hexdigest())


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise BadInput("scene", path, "is not a file" if path.exists() else "does not exist", "give the path of a scene.json")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadInput("scene", path, f"is larger than {MAX_JSON_BYTES} bytes", "pictures belong in files of their own")
        described = json.loads(path.read_text(encoding="utf-8-sig"))
    except BadInput:
        raise
    except json.JSONDecodeError as error:
        raise BadInput("scene", path, f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("scene", path, f"cannot be read ({' '.join(str(error).split())})", "give a JSON file in UTF-8") from None
    if not isinstance(described, dict):
        raise BadInput("scene", path, "is not a JSON object", 'for example {"background": "room.png", "layers": [...]}')
    return described


def _known_keys(entry: Mapping[str, Any], known: Iterable[str], place: str, elsewhere: Mapping[str, str] | None = None) -> None:
    for key in entry:
        if key not in known:
            cure = (elsewhere or {}).get(key) or _nearest(key, tuple(known))
            raise BadInput(f"{place}{key}"[:200], _shown(entry[key]), "is not known here", cure)


def _nearest(value: Any, known: tuple[str, ...]) -> str:
    close = get_close_matches(str(value), known, n=1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:100]
