"""Every drawing command with `--url`, against the real application with its fake engine."""

import json
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from live_service import LiveService, live_service
from PIL import Image

from bfs_model import LayerStack
from bfs_model.document import file as documents
from bfs_model.errors import BadInput
from bfs_platform.client import BFSClient

SCENE = [
    {"name": "ball", "box": [10, 10, 40, 40], "prompt": "a red ball", "seed": 1, "steps": 2},
    {"name": "cup", "box": [40, 20, 80, 55], "reference": "ball.png", "seed": 2, "opacity": 0.5},
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """Two models, under names of which the service's first is not the commands' own default."""
    with live_service(tmp_path_factory.mktemp("service"), "fake,fake?other=1") as running:
        yield running


@pytest.fixture
def there(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that all commands get."""
    monkeypatch.delenv("BFS_API_KEY", raising=False)
    return ["--url", service.url, "--json"]


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_generate_passes_on_what_a_service_can(bfs, there, room, tmp_path) -> None:
    """A TIFF, a reference, many steps, a cache, a model: all arrive; parts are files of their own, and steps are shown."""
    tiff = tmp_path / "room.tif"
    Image.open(room).save(tiff)
    Image.new("RGBA", (9, 9), "red").save(tmp_path / "ball.png")
    output = tmp_path / "layer.png"
    options = ["--background", tiff, "--box", "20,10,70,55", "--reference", tmp_path / "ball.png", "--steps", 200, "--seed", 5]
    further = ["--cache", "taylorseer", "--model", "fake?other=1", "--split-effects", "--output", output]
    result = bfs("generate", *options, *further, *there)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["seed"], summary["steps"], summary["model"]["name"]) == (5, 200, "fake?other=1")
    assert "200/200 steps" in result.stderr
    alphas = [_pixels(tmp_path / f"layer{part}.png")[..., 3] for part in ("", "_object", "_effects")]
    assert alphas[0].shape == (61, 97) and alphas[1].any() and alphas[2].any()
    (told,) = documents.read_manifest(output)["layers"]
    assert (told["seed"], told["box"], told["model"]["name"]) == (5, [20, 10, 70, 55], "fake?other=1")
    np.testing.assert_array_equal(np.maximum(alphas[1], alphas[2]) > 0, alphas[0] > 0)


def test_generate_writes_documents(bfs, there, room, tmp_path) -> None:
    """As .psd with object and effects apart, by the service's own model where none is named."""
    output = tmp_path / "layer.psd"
    options = ["--background", room, "--box", "20,10,70,55", "--prompt", "a ball", "--seed", 5, "--split-effects", "--output", output]
    result = bfs("generate", *options, *there)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == {"name": "fake", "version": "fake-fake"}
    assert [layer.part for layer in LayerStack.open(output)][1:] == ["effects", "object"]


@pytest.mark.parametrize("box", [[], ["--box", "10,10,60,50"]])
def test_extract(bfs, there, room, tmp_path, box) -> None:
    """With a box, and without; settings of extraction arrive."""
    finished = _pixels(room).copy()
    finished[20:40, 30:60] = 255 - finished[20:40, 30:60]
    Image.fromarray(finished).save(tmp_path / "finished.png")
    options = ["--composite", tmp_path / "finished.png", "--background", room, "--refit", "--joint-guidance", "1", "--seed", 3]
    result = bfs("extract", *options, *box, "--output", tmp_path / "layer.png", *there)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["box"], summary["seed"]) == ([10, 10, 60, 50] if box else [30, 20, 60, 40], 3)
    assert _pixels(tmp_path / "layer.png").shape == (61, 97, 4)
    assert documents.read_manifest(tmp_path / "layer.png")["layers"][0]["seed"] == 3


def test_document_and_redraw(bfs, there, service, room, tmp_path) -> None:
    """A scene becomes a document as it does here; one layer is drawn anew, onto a .psd as well, and the others stay."""
    Image.new("RGBA", (9, 9), "blue").save(tmp_path / "ball.png")
    scene, output = tmp_path / "scene.json", tmp_path / "document.psd"
    scene.write_text(json.dumps({"background": room.name, "layers": SCENE}))
    result = bfs("document", scene, "--output", output, *there)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert [(layer["name"], layer["seed"], layer["steps"]) for layer in summary["layers"]] == [("ball", 1, 2), ("cup", 2, 4)]
    before = LayerStack.open(output)
    assert [layer.opacity for layer in before] == pytest.approx([1, 1, 0.5], abs=0.01)
    again = tmp_path / "again.zip"
    result = bfs("document", scene, "--output", again, "--redraw", "ball", "--from", output, "--seed", 9, *there)
    assert result.exit_code == 0, result.stderr
    after = LayerStack.open(again)
    assert [(layer.name, layer.seed) for layer in after] == [("Background", None), ("ball", 9), ("cup", 2)]
    np.testing.assert_array_equal(after.layers[2].rgba, before.layers[2].rgba)
    assert (after.layers[1].rgba != before.layers[1].rgba).any()


def test_export_of_every_format(bfs, there, room, tmp_path) -> None:
    """A service reads .zip and .ora; a .psd is sent as one of them. Layers keep their pixels."""
    stack = LayerStack.new(Image.open(room))
    stack.add(Image.new("RGBA", (97, 61), (200, 10, 10, 128)), "ball", seed=4)
    for suffix in (".psd", ".ora", ".zip"):
        source, output = tmp_path / f"document{suffix}", tmp_path / f"out-of{suffix}.ora"
        stack.save(source)
        result = bfs("export", source, "--output", output, *there)
        assert result.exit_code == 0, result.stderr
        made = LayerStack.open(output)
        assert [(layer.name, layer.seed) for layer in made] == [("Background", None), ("ball", 4)]
        np.testing.assert_array_equal(made.layers[1].rgba, stack.layers[1].rgba)
    assert documents.read_manifest(output)["layers"][1]["seed"] == 4


def test_an_ora_of_another_program_is_exported(bfs, there, service, room, tmp_path) -> None:
    """Through the command, and sent to the service as it is: any one of plain layers can be read."""
    stack = LayerStack.new(Image.open(room))
    stack.add(Image.new("RGBA", (97, 61), (200, 10, 10, 128)), "ball", seed=4)
    stack.save(tmp_path / "ours.ora")
    ours = zipfile.ZipFile(tmp_path / "ours.ora")
    with zipfile.ZipFile(tmp_path / "theirs.ora", "w") as theirs:
        for name in ours.namelist():
            if not name.endswith(".json"):
                theirs.writestr(name, ours.read(name))
    with pytest.raises(BadInput, match="was not written by BFS"):
        documents.read_manifest(tmp_path / "theirs.ora")
    result = bfs("export", tmp_path / "theirs.ora", "--output", tmp_path / "out.zip", *there)
    assert result.exit_code == 0, result.stderr
    with BFSClient(service.url) as client:
        sent = documents.decode(client.file(client.export(tmp_path / "theirs.ora").id, "zip"))
    assert [layer.name for layer in LayerStack.open(tmp_path / "out.zip")] == [layer.name for layer in sent] == ["Background", "ball"]


def test_words_that_are_no_text_are_refused(bfs, there, room, tmp_path) -> None:
    """As a shell passes on what is not UTF-8."""
    options = ["--composite", room, "--background", room, "--box", "1,1,9,9", "--prompt", "caf\udce9", "--output", tmp_path / "l.png"]
    result = bfs("extract", *options, *there)
    assert result.exit_code == 2 and "half a character" in result.stderr


def test_what_a_service_cannot_do_is_refused(bfs, there, service, room, tmp_path) -> None:
    """Before anything is sent, by the name of the option or the place in the scene; exit code 2."""
    Image.new("RGBA", (9, 9), "red").save(tmp_path / "ball.png")
    layers = [{"name": "ball", "image": "ball.png", "position": [3, 4]}, SCENE[0] | {"name": "cup"}]
    scene = tmp_path / "scene.json"
    scene.write_text(json.dumps({"background": room.name, "layers": layers}))
    drawn = ["generate", "--background", room, "--box", "20,10,70,55", "--prompt", "x", "--output", tmp_path / "l.png"]
    shown = [*drawn, "--reference", tmp_path / "ball.png"]
    count = len(service.asked)
    for command, said in (
        ([*drawn, "--steps", 201], "--steps=201 is more than the 200 that a service takes"),
        ([*shown, "--image-weight", "2"], "--image-weight=2.0 is not something the service takes"),
        (["document", scene, "--output", tmp_path / "d.zip"], "layers[0]=ball is given as a picture"),
        (["export", room, "--output", tmp_path / "d.zip"], "room.png"),
    ):
        result = bfs(*command, *there)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert len(service.asked) == count
    result = bfs(*drawn, "--model", "nobody", *there)
    assert result.exit_code == 2 and "There is no such model here" in result.stderr
