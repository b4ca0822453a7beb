"""Several layers from one description, drawn back to front, and one of them drawn anew."""

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model import LayerStack, Scene
from bfs_model.document import file as documents
from bfs_model.document.scene_layer import Picture, SceneLayer
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box

LAYERED = [".zip", ".ora", ".psd"]


class Painter:
    """Called like a pipeline: fills the box with the seed as red and the prompt's length as green, over a strip of shadow."""

    config = SimpleNamespace(default_steps=3)
    source = "painter@1"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, background: Image.Image, box: Any, prompt: str, **settings: Any) -> Any:
        self.calls.append({"background": np.asarray(background), "box": box, "prompt": prompt, **settings})
        for step in range(settings["num_inference_steps"] or 3):
            settings["callback_on_step_end"](self, step, 0, {})
        seed = 77 if settings["seed"] is None else settings["seed"]
        layer = np.zeros((background.height, background.width, 4), np.uint8)
        x0, y0, x1, y1 = box
        layer[y1 - 1 : y1 + 4, x0:x1] = [0, 0, 0, 90]
        layer[y0:y1, x0:x1] = [seed, len(prompt), 200, 255]
        return SimpleNamespace(foregrounds=[Image.fromarray(layer)], seeds=[seed])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A background, a picture of a star with a soft edge, and a scene of three layers."""
    rows, columns = np.indices((40, 50))
    Image.fromarray(np.dstack([columns * 5, rows * 6, (rows + columns) % 256]).astype(np.uint8)).save(tmp_path / "room.png")
    Image.fromarray(np.full((6, 5, 4), [250, 240, 10, 128], np.uint8)).save(tmp_path / "star.png")
    write(tmp_path, LAYERS)
    return tmp_path


LAYERS: list[dict[str, Any]] = [
    {"name": "赤い ball", "box": [4, 5, 20, 22], "prompt": "a red ball", "seed": 11, "steps": 2},
    {"name": "star", "image": "star.png", "position": [-2, 30], "opacity": 0.5, "blend_mode": "screen"},
    {"box": "18,8,40,30", "prompt": "a cube", "visible": False, "opacity": 0.75},
]


def write(folder: Path, layers: Any, **more: Any) -> Path:
    path = folder / "scene.json"
    path.write_text(json.dumps({"background": "room.png", "layers": layers} | more, ensure_ascii=False), encoding="utf-8")
    return path


def test_layers_are_drawn_back_to_front(folder: Path) -> None:
    """Each drawing sees the picture that the visible layers below it make; looks, places and seeds are the scene's."""
    painter = Painter()
    stack = Scene.open(folder / "scene.json").draw(painter)
    assert [layer.name for layer in stack] == ["Background", "赤い ball", "star", "a cube"]
    room = np.asarray(Image.open(folder / "room.png"))
    assert np.array_equal(painter.calls[0]["background"], room)
    below = LayerStack(50, 40, stack.layers[:3]).flatten()
    assert np.array_equal(painter.calls[1]["background"], np.asarray(below)) and not np.array_equal(np.asarray(below), room)
    assert [call["seed"] for call in painter.calls] == [11, None] and [call["num_inference_steps"] for call in painter.calls] == [2, None]
    ball, star, cube = stack.layers[1:]
    assert (ball.seed, ball.prompt, list(ball.box or ()), ball.model) == (11, "a red ball", [4, 5, 20, 22], {"name": "painter@1"})
    assert ball.parameters == {"steps": 2} and cube.parameters == {"steps": 3} and cube.seed == 77
    assert (star.x, star.y, star.opacity, star.blend_mode) == (-2, 30, 0.5, "screen")
    assert star.parameters["image"] == {"file": "star.png", "sha256": hashlib.sha256((folder / "star.png").read_bytes()).hexdigest()}
    assert (cube.visible, cube.opacity) == (False, 0.75)


@pytest.mark.parametrize("suffix", [*LAYERED, ".png"])
def test_how_each_layer_was_made_travels_in_the_file(folder: Path, suffix: str) -> None:
    """Steps, seed, model, prompt and box of every layer come back, from the flat picture as well."""
    stack = Scene.open(folder / "scene.json").draw(Painter(), model={"name": "tiny", "content_hash": "ab"})
    entries = documents.read_manifest(documents.encode(stack, suffix))["layers"]
    assert [entry["seed"] for entry in entries] == [None, 11, None, 77]
    assert [entry["parameters"].get("steps") for entry in entries] == [None, 2, None, 3]
    assert entries[1]["model"] == {"name": "tiny", "content_hash": "ab"} and entries[3]["prompt"] == "a cube"
    if suffix != ".png":
        assert [layer.seed for layer in documents.decode(documents.encode(stack, suffix))] == [None, 11, None, 77]


@pytest.mark.parametrize("suffix", LAYERED)
def test_redrawing_one_layer_leaves_the_others_byte_for_byte(folder: Path, suffix: str) -> None:
    """Below and above: pixels, places, looks, how they were made. Only the named one is drawn, onto what lies below it."""
    scene = Scene.open(folder / "scene.json")
    before = documents.decode(documents.encode(scene.draw(Painter()), suffix))
    painter = Painter()
    after = scene.redraw(before, "赤い ball", painter, seed=99)
    assert len(painter.calls) == 1 and np.array_equal(painter.calls[0]["background"], np.asarray(Image.open(folder / "room.png")))
    assert [layer.id for layer in after] == [layer.id for layer in before]
    assert after.layers[1].seed == 99 and not np.array_equal(after.layers[1].rgba, before.layers[1].rgba)
    for position in (0, 2, 3):
        assert after.layers[position] is before.layers[position]
    assert before.layers[1].seed == 11


def test_in_the_zip_the_other_pictures_keep_their_bytes(folder: Path) -> None:
    """Entry by entry, and each with the same lines in the manifest."""
    scene = Scene.open(folder / "scene.json")
    stack = scene.draw(Painter())
    files = [zipfile.ZipFile(BytesIO(documents.encode(s, ".zip"))) for s in (stack, scene.redraw(stack, "a cube", Painter(), seed=5))]
    manifests = [json.loads(file.read("manifest.json"))["layers"] for file in files]
    for position, (old, new) in enumerate(zip(*manifests, strict=True)):
        assert (old == new) == (position != 3)
        assert (files[0].read(old["file"]) == files[1].read(new["file"])) == (position != 3)


def test_a_layer_is_found_again_after_an_editor_moved_and_renamed_it(folder: Path) -> None:
    """The new one lies where the old one lay in the order."""
    scene = Scene.open(folder / "scene.json")
    stack = scene.draw(Painter())
    stack.update("赤い ball", name="Kugel")
    stack.reorder(["background", "star", "a cube", "赤い ball"])
    after = scene.redraw(documents.decode(documents.encode(stack, ".psd")), "赤い ball", Painter())
    assert [layer.name for layer in after] == ["Background", "star", "a cube", "赤い ball"]


def test_split_layers_stay_split_when_redrawn(folder: Path) -> None:
    """Object and effects as two layers, asked for by the scene or by the caller; both parts are replaced."""
    write(folder, [LAYERS[0] | {"split_effects": True}, LAYERS[2]])
    scene = Scene.open(folder / "scene.json")
    stack = documents.decode(documents.encode(scene.draw(Painter()), ".ora"))
    assert [(layer.part, layer.group) for layer in stack] == [(None, None), ("effects", "赤い ball"), ("object", "赤い ball"), (None, None)]
    write(folder, [LAYERS[0], LAYERS[2]])
    after = Scene.open(folder / "scene.json").redraw(stack, "赤い ball", Painter(), seed=1)
    assert [layer.part for layer in after] == [None, "effects", "object", None] and after.layers[2].seed == 1
    assert after.layers[3] is stack.layers[3]
    assert [layer.part for layer in scene.draw(Painter(), split=True)] == [None, "effects", "object", "effects", "object"]


def test_redrawing_keeps_a_layer_in_its_group(folder: Path) -> None:
    """One that an editor put there; the group of its two parts lies within."""
    scene = Scene.open(folder / "scene.json")
    stack = scene.draw(Painter())
    for name in ("赤い ball", "star"):
        stack.update(name, group="toys")
    after = scene.redraw(stack, "赤い ball", Painter())
    assert [layer.group for layer in after] == [None, "toys", "toys", None]
    parts = scene.redraw(after, "赤い ball", Painter(), split=True)
    assert [layer.group for layer in parts] == [None, "toys / 赤い ball", "toys / 赤い ball", "toys", None]
    assert [layer.group for layer in scene.redraw(parts, "赤い ball", Painter())] == [layer.group for layer in parts]


@pytest.mark.parametrize("name", ["a red ball,\n glossy", "ball ", "x" * 400, " "])
def test_any_name_is_one_that_a_document_can_hold(name: str) -> None:
    """Scenes that are made in code say what files would be refused for: parts and redraws find their layer."""
    picture = Picture(Image.new("RGB", (50, 40)), Path("room.png"), "")
    scene = Scene(picture, (SceneLayer(name, box=Box(4, 5, 20, 22), prompt="a ball", seed=1, split_effects=True),))
    stack = scene.draw(Painter())
    (layer,) = scene.layers
    assert [other.id for other in stack][1:] == [f"{layer.name}-effects", f"{layer.name}-object"]
    assert len(scene.redraw(stack, layer.name, Painter())) == 3


def test_a_given_layer_has_no_seed(folder: Path) -> None:
    """Asking for another one is refused, not ignored."""
    scene = Scene.open(folder / "scene.json")
    with pytest.raises(BadInput, match="star is given as an image"):
        scene.redraw(scene.draw(Painter()), "star", Painter(), seed=3)


def test_a_layer_of_a_long_or_odd_prompt_is_found_again(folder: Path) -> None:
    """Its name, cut where a space stands, is its id in the document."""
    scene = Scene.open(write(folder, [{"box": [4, 5, 20, 22], "prompt": "a \n" + "x" * 237 + " ball", "split_effects": True}]))
    stack = scene.draw(Painter())
    assert [layer.id for layer in stack][1:] == [f"{scene.layers[0].name}-{part}" for part in ("effects", "object")]
    redrawn = scene.redraw(stack, scene.layers[0].name, Painter(), seed=5)
    assert [layer.seed for layer in redrawn] == [None, 5, 5]


def test_what_cannot_be_split_is_said_before_anything_is_drawn(folder: Path) -> None:
    """The split may be asked for when drawing, for all layers at once."""
    painter = Painter()
    scene = Scene.open(write(folder, [LAYERS[0], LAYERS[0] | {"name": "b", "blend_mode": "multiply"}]))
    with pytest.raises(BadInput, match="cannot be had of b, which blends in mode multiply"):
        scene.draw(painter, split=True)
    assert not painter.calls
    assert len(scene.draw(painter)) == 3


def test_a_full_scene_in_parts_can_be_saved_and_read(folder: Path) -> None:
    """As many layers as a scene may have, each in two; and prompts that compress as well as a zip bomb."""
    layers = [{"box": [4, 5, 8, 9], "prompt": "red " * 50, "name": f"{n}", "split_effects": True} for n in range(200)]
    stack = Scene.open(write(folder, layers)).draw(Painter())
    for suffix in (".zip", ".ora"):
        assert len(documents.decode(documents.encode(stack, suffix))) == 401


def test_a_reference_is_handed_on(folder: Path) -> None:
    """With or without a prompt; the document says which picture it was."""
    painter = Painter()
    write(folder, [{"name": "like this", "box": [4, 5, 20, 22], "reference": "star.png"}])
    layer = Scene.open(folder / "scene.json").draw(painter).layers[1]
    assert painter.calls[0]["reference"].mode == "RGBA" and painter.calls[0]["prompt"] == ""
    assert layer.parameters["reference"]["file"] == "star.png" and layer.prompt is None


def test_redrawing_what_is_not_there(folder: Path) -> None:
    """The refusal lists what is, in scene or document."""
    scene = Scene.open(folder / "scene.json")
    stack = scene.draw(Painter())
    with pytest.raises(BadInput, match=r"redraw=bal is not a layer of the scene; it has 赤い ball, star, a cube"):
        scene.redraw(stack, "bal", Painter())
    stack.remove("star")
    with pytest.raises(BadInput, match=r"redraw=star is not the id of a layer of the document; it has background, 赤い ball, a cube"):
        scene.redraw(stack, "star", Painter())
