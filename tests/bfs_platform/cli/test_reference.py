"""`bfs generate --reference`: what is read, what is sent, what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model import LayerStack

from .conftest import Answer

BOX = "10,5,60,50"


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A blue square on green."""
    pixels = np.full((20, 30, 3), (0, 200, 0), np.uint8)
    pixels[5:15, 10:20] = (10, 20, 230)
    Image.fromarray(pixels).save(tmp_path / "shown.png")
    return tmp_path / "shown.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """White where the square is."""
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5:15, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_a_reference_takes_the_place_of_the_prompt(bfs, room, shown, mask, tmp_path) -> None:
    """Without --prompt the reference decides (the fake takes its mean colour), masked or whole; the document records it."""
    arguments = ["generate", "--background", room, "--box", BOX, "--model", "fake", "--reference", shown, "--seed", 1]
    result = bfs(*arguments, "--reference-mask", mask, "--image-weight", 2, "--output", tmp_path / "layer.zip", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["prompt"] == ""
    layer = list(LayerStack.open(tmp_path / "layer.zip"))[-1]
    assert layer.parameters == {"steps": 4, "reference": True, "image_weight": 2.0}
    pixels = layer.rgba
    assert (pixels[pixels[..., 3] == 255][:, :3] == (10, 20, 230)).all()
    assert bfs(*arguments, "--output", tmp_path / "whole.png").exit_code == 0
    green = np.asarray(Image.open(tmp_path / "whole.png"))
    assert (green[green[..., 3] == 255][:, 1] > 100).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "prompt='' is empty; describe the object in words, or show it with --reference"),
        (["--prompt", "x", "--image-weight", "2"], "reference=none is given, and other options speak of one"),
        (["--prompt", "x", "--reference-mask", "mask.png"], "reference=none is given"),
        (["--reference", "none.png"], "reference="),
        (["--reference", "shown.png", "--reference-mask", "room.png"], "is not as large as the reference, 30x20"),
        (["--reference", "shown.png", "--prompt", "x", "--image-weight", "2", "--url", "http://127.0.0.1:9"], "--image-weight=2.0 is not"),
    ],
)
def test_wrong_references_are_one_line(bfs, room, shown, mask, tmp_path, monkeypatch, options, said) -> None:
    """Exit code 2, the fault named, nothing written."""
    monkeypatch.chdir(tmp_path)
    result = bfs("generate", "--background", room, "--box", BOX, "--model", "fake", "--output", tmp_path / "x.png", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "x.png").exists()


def test_a_model_without_an_encoder_names_the_remedy(bfs, room, shown, tmp_path) -> None:
    """The answer says how to get one."""
    from bfs_model.tiny.components import random_bundle

    folder = random_bundle(tmp_path / "bundle")
    arguments = ["--model", folder, "--reference", shown, "--steps", 1, "--output", tmp_path / "x.png"]
    result = bfs("generate", "--background", room, "--box", BOX, *arguments)
    assert result.exit_code == 2
    assert "needs a reference encoder, which this model has not; load one with pipe.load_reference_encoder" in result.stderr


def test_a_service_gets_the_reference_cut_out(bfs, room, shown, mask, tmp_path, service) -> None:
    """The file sent is one PNG whose alpha is the mask."""
    service.answers = [Answer(422, b'{"detail": "Seen."}', {"Content-Type": "application/problem+json"})]
    arguments = ["--url", service.url, "--prompt", "x", "--reference", shown, "--reference-mask", mask]
    result = bfs("generate", "--background", room, "--box", BOX, *arguments, "--output", tmp_path / "layer.png")
    assert result.exit_code == 2 and "Seen" in result.stderr
    body = service.asked[0][3]
    start = body.index(b"\x89PNG", body.index(b'name="reference"; filename='))
    sent = np.asarray(Image.open(io.BytesIO(body[start:])))
    assert sent.shape == (20, 30, 4) and (sent[..., 3] == np.asarray(Image.open(mask))).all()
