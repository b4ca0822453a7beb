"""What is wrong with a scene is said with its place in the file, before anything is drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model import Scene
from bfs_model.errors import BadInput

GOOD: dict[str, Any] = {"name": "a", "box": [1, 1, 9, 9], "prompt": "a ball"}
GIVEN: dict[str, Any] = {"image": "room.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "room.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def complaint(folder: Path, scene: Any) -> BadInput:
    path = folder / "scene.json"
    path.write_text(scene if isinstance(scene, str) else json.dumps(scene))
    with pytest.raises(BadInput) as caught:
        Scene.open(path)
    return caught.value


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"box": [1, 1, 40, 9]}, "layers[1].box", "leaves the image of 30x20 pixels"),
        ({"box": [9, 1, 1, 9]}, "layers[1].box", "is empty or reversed"),
        ({"box": [1, 2, 3]}, "layers[1].box", "is not a box"),
        ({"box": None}, "layers[1].box", "is not a box"),
        ({"box": [1, 1, 9, float("inf")]}, "layers[1].box", "is not a box"),
        ({"prompt": "half \ud83d"}, "layers[1].prompt", "holds half a character"),
        ({"promt": "x"}, "layers[1].promt", "did you mean prompt?"),
        ({"xyz": "x"}, "layers[1].xyz", "use one of name, opacity"),
        ({"prompt": "  "}, "layers[1].prompt", "is empty"),
        ({"prompt": 5}, "layers[1].prompt", "is not text"),
        ({"name": ""}, "layers[1].name", "is not a name"),
        ({"name": 3}, "layers[1].name", "is not text"),
        ({"name": "A"}, "layers[1].name", "is also the name of layers[0]"),
        ({"name": "a-object"}, "layers[1].name", "or of a part of it"),
        ({"name": "Background"}, "layers[1].name", "is also the name of background"),
        ({"seed": -1}, "layers[1].seed", "from 0 to 4294967295"),
        ({"seed": 1.5}, "layers[1].seed", "is not a whole number"),
        ({"seed": True}, "layers[1].seed", "is not a whole number"),
        ({"steps": 0}, "layers[1].steps", "from 1 to 1000"),
        ({"opacity": 1.1}, "layers[1].opacity", "from 0 to 1"),
        ({"opacity": "half"}, "layers[1].opacity", "from 0 to 1"),
        ({"blend_mode": "multply"}, "layers[1].blend_mode", "did you mean multiply?"),
        ({"visible": 1}, "layers[1].visible", "neither true nor false"),
        ({"split_effects": "yes"}, "layers[1].split_effects", "neither true nor false"),
        ({"split_effects": True, "blend_mode": "screen"}, "layers[1].split_effects", "in blend mode screen"),
        ({"reference": "none.png"}, "layers[1].reference", "does not exist"),
        ({"position": [0, 0]}, "layers[1].position", "has a box instead"),
    ],
)
def test_a_drawn_layer(folder: Path, change: dict[str, Any], key: str, said: str) -> None:
    """Key, rule and remedy for every field."""
    error = complaint(folder, {"background": "room.png", "layers": [GOOD, GOOD | {"name": "b"} | change]})
    assert error.key == key and said in str(error)


@pytest.mark.parametrize(
    ("layer", "key", "said"),
    [
        (GIVEN | {"image": "none.png"}, "layers[0].image", "does not exist"),
        (GIVEN | {"image": "broken.png"}, "layers[0].image", "broken.png begins as a PNG picture, but cannot be decoded"),
        (GIVEN | {"image": "../"}, "layers[0].image", "is not a file"),
        (GIVEN | {"image": 7}, "layers[0].image", "is not the path"),
        (GIVEN | {"position": [1.5, 2]}, "layers[0].position", "two whole numbers"),
        (GIVEN | {"position": [1, 2**31]}, "layers[0].position", "two whole numbers"),
        (GIVEN | {"position": [1]}, "layers[0].position", "two whole numbers"),
        (GIVEN | {"prompt": "x"}, "layers[0].prompt", "is not drawn"),
        (GIVEN | {"imag": "x"}, "layers[0].imag", "did you mean image?"),
        ({"prompt": "x"}, "layers[0].box", "is missing"),
        ({"box": [1, 1, 9, 9]}, "layers[0].prompt", "is missing"),
        ("ball", "layers[0]", "is not an object"),
    ],
)
def test_a_given_layer_and_none(folder: Path, layer: Any, key: str, said: str) -> None:
    """Pictures that are not there, and layers that are neither drawn nor given."""
    error = complaint(folder, {"background": "room.png", "layers": [layer]})
    assert error.key == key and said in str(error)


@pytest.mark.parametrize(
    ("scene", "key", "said"),
    [
        ("{", "scene", "is not JSON (line 1, column 2"),
        ("[]", "scene", "is not a JSON object"),
        ({"layers": [GOOD]}, "background", "is missing"),
        ({"background": "none.png", "layers": [GOOD]}, "background", "does not exist"),
        ({"background": "room.png", "layers": []}, "layers", "is not a list of 1 to 200"),
        ({"background": "room.png", "layers": GOOD}, "layers", "is not a list"),
        ({"background": "room.png", "layer": [GOOD]}, "layer", "did you mean layers?"),
    ],
)
def test_the_scene_itself(folder: Path, scene: Any, key: str, said: str) -> None:
    """Not JSON, or not of the form of a scene."""
    error = complaint(folder, scene)
    assert error.key == key and said in str(error)


def test_a_scene_file_that_is_not_there(tmp_path: Path) -> None:
    """A folder, a missing path, bytes that are no text."""
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for path, said in (
        (tmp_path, "is not a file"),
        (tmp_path / "none.json", "does not exist"),
        (tmp_path / "bytes.json", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=said):
            Scene.open(path)


def test_names_default_to_prompt_or_file(folder: Path) -> None:
    """A long prompt is cut; a given layer is called by its file."""
    (folder / "scene.json").write_text(
        json.dumps(
            {"background": "room.png", "layers": [{"box": [1, 1, 9, 9], "prompt": "x " * 300}, GIVEN, {"image": "room.png", "name": "é"}]}
        )
    )
    layers = Scene.open(folder / "scene.json").layers
    assert [len(layers[0].name), layers[1].name, layers[2].name] == [239, "room", "é"]
