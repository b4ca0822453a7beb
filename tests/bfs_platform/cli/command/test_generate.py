"""`bfs generate`, `bfs extract` and `bfs export` with the fake model."""

import json

import numpy as np
import pytest
from PIL import Image

from bfs_model import LayerStack
from bfs_model.picture.compositing import composite_u8

BOX = "20,10,70,55"


def _generate(room, output, *further):
    return ["generate", "--background", room, "--box", BOX, "--prompt", "a red ball", "--output", output, "--model", "fake", *further]


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_png_is_the_layer_on_the_full_canvas(bfs, room, tmp_path) -> None:
    """The .png is RGBA, as large as the background, and visible in the box."""
    result = bfs(*_generate(room, tmp_path / "layer.png"))
    assert result.exit_code == 0, result.stderr
    layer = _pixels(tmp_path / "layer.png")
    assert layer.shape == (61, 97, 4)
    assert layer[32, 45, 3] == 255
    outside = np.ones((61, 97), bool)
    outside[10:55, 20:70] = False
    assert (layer[outside, 3] == 0).all()


@pytest.mark.parametrize("suffix", [".psd", ".ora", ".zip"])
def test_a_document_holds_background_and_layer(bfs, room, tmp_path, suffix) -> None:
    """A document opens with both layers; the new one knows its prompt, seed, box and model."""
    path = tmp_path / f"document{suffix}"
    assert bfs(*_generate(room, path, "--seed", 7)).exit_code == 0
    background, layer = LayerStack.open(path)
    np.testing.assert_array_equal(background.rgba[..., :3], _pixels(room))
    assert (layer.name, layer.prompt, layer.seed) == ("a red ball", "a red ball", 7)
    assert (str(layer.box), layer.model["name"], layer.parameters["steps"]) == (BOX, "fake", 4)


def test_the_composite_is_the_layer_over_the_background(bfs, room, tmp_path) -> None:
    """--composite is Eq. 1 of the layer and the background, bitwise."""
    assert bfs(*_generate(room, tmp_path / "layer.png", "--composite", tmp_path / "flat.png")).exit_code == 0
    np.testing.assert_array_equal(_pixels(tmp_path / "flat.png"), composite_u8(_pixels(tmp_path / "layer.png"), _pixels(room)))


def test_the_seed_decides(bfs, room, tmp_path) -> None:
    """The same seed gives the same file, another seed another one."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert bfs(*_generate(room, tmp_path / f"{name}.png", "--seed", seed)).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_json_is_alone_on_stdout(bfs, room, tmp_path) -> None:
    """--json prints one object on stdout; steps and messages are on stderr."""
    result = bfs(*_generate(room, tmp_path / "layer.png", "--steps", 3, "--seed", 5, "--json"))
    summary = json.loads(result.stdout)
    assert summary["output"] == str(tmp_path / "layer.png")
    assert (summary["seed"], summary["steps"], summary["box"], summary["size"]) == (5, 3, [20, 10, 70, 55], [97, 61])
    assert "3/3 steps" in result.stderr


def test_an_existing_file_is_replaced_whole(bfs, room, tmp_path) -> None:
    """Writing over an earlier result leaves the new one and no temporary file."""
    (tmp_path / "layer.png").write_bytes(b"old")
    assert bfs(*_generate(room, tmp_path / "layer.png")).exit_code == 0
    assert _pixels(tmp_path / "layer.png").shape == (61, 97, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layer.png", "room.png"]


def test_a_home_folder_is_one_place(bfs, room, tmp_path, monkeypatch) -> None:
    """A shell leaves `~` as it is after `=`: it reads the same picture, and does not hide that it is an input."""
    monkeypatch.setenv("HOME", str(tmp_path))
    options = ["--box", BOX, "--prompt", "x", "--model", "fake"]
    assert bfs("generate", "--background", "~/room.png", "--output", "~/layer.png", *options).exit_code == 0
    assert (tmp_path / "layer.png").exists()
    result = bfs("generate", "--background", room, "--output", "~/room.png", *options)
    assert result.exit_code == 2 and "is an input as well" in result.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--box": "20,10,98,55"}, "box=20,10,98,55 leaves the image of 97x61 pixels"),
        ({"--box": "-1,10,50,55"}, "box=-1,10,50,55 leaves the image"),
        ({"--box": "70,10,20,55"}, "box=70,10,20,55 is empty or reversed"),
        ({"--box": "20,10,20,55"}, "is empty or reversed"),
        ({"--box": "1,2,3"}, "box=1,2,3 is not a box"),
        ({"--box": "a,b,c,d"}, "is not a box"),
        ({"--prompt": "  "}, "prompt='  ' is empty"),
        ({"--background": "{tmp}/missing.png"}, "does not exist"),
        ({"--background": "{tmp}/broken.png"}, "background="),
        ({"--output": "{tmp}/layer.gif"}, "has a suffix that is not known"),
        ({"--output": "{tmp}/nowhere/layer.png"}, "lies in a folder that does not exist"),
        ({"--output": "{tmp}/room.png"}, "is an input as well"),
        ({"--reference": "{tmp}/thing.png", "--output": "{tmp}/thing.png"}, "output={tmp}/thing.png is an input as well"),
        ({"--reference": "{tmp}/room.png", "--reference-mask": "{tmp}/m.png", "--composite": "{tmp}/m.png"}, "m.png is an input as well"),
        ({"--background": "{tmp}/wide.png", "--output": "{tmp}/wide.psd"}, "30001x1 is more than 30000 pixels a side"),
        ({"--prompt": "half \udc80"}, "holds bytes that are not UTF-8"),
        ({"--composite": "{tmp}/layer.png"}, "is the output as well"),
        ({"--composite": "{tmp}/flat.psd"}, "has a suffix that is not known"),
        ({"--model": "{tmp}/no-model"}, "is not a folder"),
        ({"--steps": "0"}, "Invalid value for '--steps'"),
        ({"--seed": "-1"}, "Invalid value for '--seed'"),
        ({"--url": "example.org"}, "is not an http address"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(bfs, room, tmp_path, changes, said) -> None:
    """Whatever the user can correct: exit code 2, one line on stderr that names it, no file."""
    (tmp_path / "broken.png").write_bytes(room.read_bytes()[:100])
    Image.new("L", (30_001, 1)).save(tmp_path / "wide.png")
    options = {"--background": str(room), "--box": BOX, "--prompt": "x", "--output": f"{tmp_path}/layer.png", "--model": "fake"} | changes
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    result = bfs("generate", *(part.replace("{tmp}", str(tmp_path)) for pair in options.items() for part in pair))
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith("loading ")]
    assert len(lines) == 1, result.stderr
    assert said.replace("{tmp}", str(tmp_path)) in lines[0]
    assert result.stdout == ""
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_extract_finds_the_box_by_itself(bfs, room, tmp_path) -> None:
    """Without --box, the layer is looked for where the pictures differ."""
    bfs(*_generate(room, tmp_path / "layer.png", "--composite", tmp_path / "flat.png"))
    arguments = ["extract", "--composite", tmp_path / "flat.png", "--background", room, "--model", "fake", "--json"]
    result = bfs(*arguments, "--output", tmp_path / "found.png")
    assert result.exit_code == 0, result.stderr
    x0, y0, x1, y1 = json.loads(result.stdout)["box"]
    visible = np.argwhere(_pixels(tmp_path / "layer.png")[..., 3] == 255)
    assert (y0, x0) <= tuple(visible.min(axis=0))
    assert (x1, y1) > tuple(visible.max(axis=0)[::-1])
    assert _pixels(tmp_path / "found.png").shape == (61, 97, 4)


def test_extract_refuses_pictures_that_do_not_match(bfs, room, tmp_path) -> None:
    """Pictures of two sizes, and pictures without a difference, are bad input."""
    Image.new("RGB", (10, 10)).save(tmp_path / "small.png")
    arguments = ["extract", "--background", room, "--output", tmp_path / "x.png", "--model", "fake"]
    small = bfs(*arguments, "--composite", tmp_path / "small.png")
    same = bfs(*arguments, "--composite", room)
    assert (small.exit_code, same.exit_code) == (2, 2)
    assert "is not as large as the background, 97x61" in small.stderr
    assert "shows nothing that the background does not" in same.stderr


def test_export_keeps_the_layers(bfs, room, tmp_path) -> None:
    """zip → psd → ora → png: names and pixels survive, the .png is the flat picture."""
    bfs(*_generate(room, tmp_path / "a.zip", "--seed", 3, "--composite", tmp_path / "flat.png"))
    for source, target in (("a.zip", "b.psd"), ("b.psd", "c.ora"), ("c.ora", "d.png")):
        assert bfs("export", tmp_path / source, "--output", tmp_path / target).exit_code == 0
    assert [layer.name for layer in LayerStack.open(tmp_path / "c.ora")] == ["Background", "a red ball"]
    np.testing.assert_array_equal(_pixels(tmp_path / "d.png")[..., :3], _pixels(tmp_path / "flat.png"))
    refused = bfs("export", tmp_path / "flat.png", "--output", tmp_path / "e.psd")
    assert refused.exit_code == 2
    assert not (tmp_path / "e.psd").exists()
