"""`bfs document`, `--split-effects`, and backgrounds of every kind, with the fake model."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from bfs_model import LayerStack
from bfs_model.document import file as documents
from bfs_model.picture.compositing import composite_u8

LAYERS = [
    {"name": "ball", "box": [10, 10, 40, 40], "prompt": "a red ball", "seed": 1},
    {"name": "box", "box": [40, 20, 80, 55], "prompt": "a box", "seed": 2},
]


def _scene(room, layers=LAYERS):
    path = room.with_name("scene.json")
    path.write_text(json.dumps({"background": room.name, "layers": layers}))
    return path


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("suffix", [".psd", ".ora", ".zip", ".png"])
def test_a_scene_becomes_a_document(bfs, room, tmp_path, suffix) -> None:
    """Every layer with prompt, seed, steps and model; the .png is the flat picture; the summary says the same."""
    output = tmp_path / f"document{suffix}"
    result = bfs("document", _scene(room), "--output", output, "--model", "fake", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert [(layer["name"], layer["seed"], layer["steps"]) for layer in summary["layers"]] == [("ball", 1, 4), ("box", 2, 4)]
    entries = documents.read_manifest(output)["layers"]
    assert [(entry["prompt"], entry["seed"]) for entry in entries[1:]] == [("a red ball", 1), ("a box", 2)]
    assert all(entry["model"]["name"] == "fake" and entry["parameters"]["steps"] == 4 for entry in entries[1:])
    assert "layer ball" in result.stderr and "4/4 steps" in result.stderr
    if suffix == ".png":
        assert _pixels(output).shape == (61, 97, 3)
    else:
        assert [layer.name for layer in LayerStack.open(output)] == ["Background", "ball", "box"]


def test_one_layer_is_drawn_anew(bfs, room, tmp_path) -> None:
    """In place, with another seed; every other picture in the zip keeps its bytes."""
    scene, output = _scene(room), tmp_path / "document.zip"
    assert bfs("document", scene, "--output", output, "--model", "fake").exit_code == 0
    with zipfile.ZipFile(output) as archive:
        before = {name: archive.read(name) for name in archive.namelist()}
    result = bfs("document", scene, "--output", output, "--model", "fake", "--redraw", "ball", "--seed", 9)
    assert result.exit_code == 0, result.stderr
    with zipfile.ZipFile(output) as archive:
        changed = [name for name in archive.namelist() if archive.read(name) != before[name]]
    assert changed == ["manifest.json", "composite.png", "layers/001.png"]
    assert [layer.seed for layer in LayerStack.open(output)] == [None, 9, 2]
    other = tmp_path / "other.psd"
    assert bfs("document", scene, "--output", other, "--model", "fake", "--redraw", "box", "--from", output).exit_code == 0
    assert [layer.seed for layer in LayerStack.open(other)] == [None, 9, 2]


@pytest.mark.parametrize(
    ("layers", "options", "said"),
    [
        ([{"box": [1, 1, 9, 9]}], [], "layers[0].prompt=nothing is missing"),
        ([LAYERS[0], LAYERS[1] | {"box": [0, 0, 98, 9]}], [], "layers[1].box=0,0,98,9 leaves the image of 97x61 pixels"),
        ([LAYERS[0] | {"promt": "x"}], [], "did you mean prompt?"),
        (LAYERS, ["--redraw", "cup"], "document={tmp}/out.zip does not exist"),
        (LAYERS, ["--redraw", "cup", "--from", "{tmp}/room.png"], "is one flat picture"),
        (LAYERS, ["--from", "{tmp}/room.png"], "is for --redraw only"),
        (LAYERS, ["--seed", "3"], "is for --redraw only"),
        (LAYERS, ["--model", "{tmp}/none"], "is not a folder"),
    ],
)
def test_bad_scenes_are_one_line_and_write_nothing(bfs, room, tmp_path, layers, options, said) -> None:
    """Exit code 2, the place in the scene, no file."""
    scene = _scene(room, layers)
    before = sorted(tmp_path.iterdir())
    options = [option.replace("{tmp}", str(tmp_path)) for option in options]
    result = bfs("document", scene, "--output", tmp_path / "out.zip", *(options if "--model" in options else [*options, "--model", "fake"]))
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith("loading ")]
    assert len(lines) == 1 and said.replace("{tmp}", str(tmp_path)) in lines[0], result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["room.png", "thing.png"])
def test_a_picture_of_the_scene_is_never_overwritten(bfs, room, tmp_path, name) -> None:
    """Neither the background nor a layer's reference."""
    Image.new("RGB", (8, 8)).save(tmp_path / "thing.png")
    scene = _scene(room, [LAYERS[0] | {"reference": "thing.png"}])
    before = (tmp_path / name).read_bytes()
    result = bfs("document", scene, "--output", tmp_path / name, "--model", "fake")
    assert result.exit_code == 2 and "is an input as well" in result.stderr
    assert (tmp_path / name).read_bytes() == before


class TestSplitEffects:
    """Object and effects apart."""

    @pytest.mark.parametrize("command", ["generate", "extract"])
    def test_a_png_gets_two_more_beside_it(self, bfs, room, tmp_path, command) -> None:
        """The whole layer all the same, and its parts: effects, then object, over the background give the same picture."""
        given = ["--composite", room] if command == "extract" else ["--prompt", "a red ball", "--composite", tmp_path / "flat.png"]
        arguments = [command, "--background", room, "--box", "20,10,70,55", "--seed", 3, "--model", "fake", *given]
        if command == "extract":
            Image.new("RGB", (97, 61)).save(tmp_path / "finished.png")
            arguments[-1] = tmp_path / "finished.png"
        result = bfs(*arguments, "--output", tmp_path / "layer.png", "--split-effects")
        assert result.exit_code == 0, result.stderr
        whole, thing, effects = (_pixels(tmp_path / f"layer{part}.png") for part in ("", "_object", "_effects"))
        assert whole.shape == thing.shape == effects.shape == (61, 97, 4)
        picture = composite_u8(thing, composite_u8(effects, _pixels(room)))
        assert np.abs(picture.astype(int) - composite_u8(whole, _pixels(room)).astype(int)).max() <= 1
        assert effects[..., 3].any() and (thing[32, 45] == whole[32, 45]).all() and thing[..., 3].max() == 255
        (entry,) = documents.read_manifest(tmp_path / "layer_object.png")["layers"]
        assert (entry["part"], entry["seed"]) == ("object", 3)

    @pytest.mark.parametrize("suffix", [".psd", ".ora", ".zip"])
    def test_a_document_gets_a_group_of_two(self, bfs, room, tmp_path, suffix) -> None:
        """From `generate`, and for every layer of a scene."""
        arguments = ["--background", room, "--box", "20,10,70,55", "--prompt", "a red ball", "--split-effects", "--model", "fake"]
        assert bfs("generate", *arguments, "--output", tmp_path / f"a{suffix}").exit_code == 0
        assert [(layer.part, layer.group) for layer in LayerStack.open(tmp_path / f"a{suffix}")] == [
            (None, None),
            ("effects", "a red ball"),
            ("object", "a red ball"),
        ]
        assert bfs("document", _scene(room), "--output", tmp_path / f"b{suffix}", "--split-effects", "--model", "fake").exit_code == 0
        assert [layer.group for layer in LayerStack.open(tmp_path / f"b{suffix}")] == [None, "ball", "ball", "box", "box"]

    def test_parts_never_overwrite_an_input(self, bfs, room, tmp_path) -> None:
        """A background that is called like a part is refused before any work."""
        taken = room.rename(tmp_path / "layer_object.png")
        before = taken.read_bytes()
        arguments = ["--background", taken, "--box", "20,10,70,55", "--prompt", "x", "--split-effects", "--model", "fake"]
        result = bfs("generate", *arguments, "--output", tmp_path / "layer.png")
        assert result.exit_code == 2 and "is an input as well" in result.stderr
        assert taken.read_bytes() == before and not (tmp_path / "layer.png").exists()


def test_a_transparent_background_stays_transparent_in_the_document(bfs, tmp_path) -> None:
    """The model sees it over white; the document keeps its pixels."""
    rgba = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "glass.png")
    arguments = ["--background", tmp_path / "glass.png", "--box", "5,5,40,35", "--prompt", "x", "--model", "fake"]
    assert bfs("generate", *arguments, "--output", tmp_path / "a.ora", "--composite", tmp_path / "flat.png").exit_code == 0
    assert np.array_equal(LayerStack.open(tmp_path / "a.ora").layers[0].rgba, rgba)
    assert _pixels(tmp_path / "flat.png").shape == (40, 50, 3)
