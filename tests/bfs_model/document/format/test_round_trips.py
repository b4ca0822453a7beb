"""What is saved comes back: pixels exactly, words in every script, places off the canvas, and how each layer was made."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bfs_model import files
from bfs_model.document import file as documents
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput

LAYERED = [".zip", ".ora", ".psd"]
EVERY = [*LAYERED, ".png"]
FACTS = [field.name for field in dataclasses.fields(Layer) if field.name != "rgba"]


def assert_same(first: LayerStack, second: LayerStack) -> None:
    assert (first.width, first.height, len(first)) == (second.width, second.height, len(second))
    for one, other in zip(first, second, strict=True):
        assert {name: getattr(one, name) for name in FACTS} == {name: getattr(other, name) for name in FACTS}
        assert np.array_equal(one.rgba, other.rgba), one.name


@pytest.mark.parametrize("suffix", LAYERED)
def test_everything_comes_back(scene: LayerStack, tmp_path: Path, suffix: str) -> None:
    """Every field of every layer and every pixel, also those under alpha 0; opacity to the last digit."""
    path = scene.save(tmp_path / f"scene{suffix.upper()}")
    again = LayerStack.open(path)
    assert_same(scene, again)
    assert np.array_equal(np.asarray(again.flatten()), np.asarray(scene.flatten()))


@pytest.mark.parametrize("suffix", EVERY)
def test_equal_documents_have_equal_bytes(scene: LayerStack, suffix: str) -> None:
    """No clock, no random id: a document can be compared and cached by its hash."""
    first = documents.encode(scene, suffix)
    assert documents.encode(scene, suffix) == first
    if suffix != ".png":
        assert documents.encode(documents.decode(first), suffix) == first


@pytest.mark.parametrize("start", LAYERED)
@pytest.mark.parametrize("suffix", LAYERED)
def test_any_export_of_any_document(scene: LayerStack, tmp_path: Path, start: str, suffix: str) -> None:
    """`bfs export` is open and save: nothing is lost between formats."""
    LayerStack.open(scene.save(tmp_path / f"a{start}")).save(tmp_path / f"b{suffix}")
    assert_same(scene, LayerStack.open(tmp_path / f"b{suffix}"))


@pytest.mark.parametrize("suffix", EVERY)
def test_prompt_seed_model_and_box_travel_in_every_file(scene: LayerStack, tmp_path: Path, suffix: str) -> None:
    """They are read back without decoding the pictures, from a flat PNG as well."""
    manifest = documents.read_manifest(scene.save(tmp_path / f"scene{suffix}"))
    ball = manifest["layers"][1]
    assert (ball["prompt"], ball["seed"], ball["box"]) == (scene["layer-1"].prompt, 2**63 + 7, [15, 9, 45, 40])
    assert ball["model"] == {"name": "tiny", "version": "3", "content_hash": "ab" * 32}
    assert ball["parameters"] == {"steps": 4, "guidance": 30.5, "nested": {"a": [1, None]}}
    assert [layer["name"] for layer in manifest["layers"]] == [layer.name for layer in scene]
    assert "bottom to top" in manifest["layer_order"]


def test_the_manifest_states_its_conventions(scene: LayerStack) -> None:
    """Nobody has to guess what color, alpha and order mean."""
    manifest = documents.read_manifest(documents.encode(scene, ".zip"))
    assert (manifest["format"], manifest["version"]) == ("bfs-document", 1)
    assert (manifest["width"], manifest["height"]) == (61, 47)
    assert (manifest["color_space"], manifest["alpha"]) == ("srgb", "straight")
    assert [layer["role"] for layer in manifest["layers"]] == ["background"] + ["foreground"] * 6
    entry = manifest["layers"][2]
    assert (entry["x"], entry["y"], entry["width"], entry["height"]) == (-9, -5, 18, 20)
    assert (entry["opacity"], entry["blend_mode"], entry["visible"]) == (0.4, "multiply", True)
    assert len(entry["sha256"]) == 64


def test_the_content_decides_what_a_file_is(scene: LayerStack, tmp_path: Path) -> None:
    """A renamed document still opens."""
    for suffix in LAYERED:
        (tmp_path / "renamed.bin").write_bytes(documents.encode(scene, suffix))
        assert len(LayerStack.open(tmp_path / "renamed.bin")) == 7


@pytest.mark.parametrize("name", ["scene", "scene.jpg", "scene.psb", "scene.psd.bak"])
def test_unknown_suffixes_are_refused_before_any_work(scene: LayerStack, tmp_path: Path, name: str) -> None:
    """The refusal lists what is possible, and no file appears."""
    with pytest.raises(BadInput, match=r"\.psd, \.ora, \.zip, \.png"):
        scene.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", EVERY)
def test_a_failing_disk_leaves_the_old_document(scene: LayerStack, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half a file nor a temporary one stays behind."""
    path = tmp_path / f"scene{suffix}"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        scene.save(path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_paths_name_their_key(scene: LayerStack, tmp_path: Path) -> None:
    """Writing names `output`, reading names `document`."""
    with pytest.raises(BadInput) as caught:
        scene.save(tmp_path / "none" / "scene.psd")
    assert caught.value.key == "output"
    for path in (tmp_path, tmp_path / "none.zip", "/dev/zero", "a\0b.zip"):
        with pytest.raises(BadInput) as caught:
            LayerStack.open(path)
        assert caught.value.key == "document"


def test_the_path_is_checked_before_any_work(scene: LayerStack, tmp_path: Path) -> None:
    """A document that cannot even be encoded still complains about its path first."""
    scene.update("layer-1", parameters={"log": "x" * 5_000_000})
    with pytest.raises(BadInput, match="does not exist"):
        scene.save(tmp_path / "none" / "scene.zip")


def test_a_flat_picture_is_no_document(scene: LayerStack, tmp_path: Path) -> None:
    """It says so, and which files are."""
    with pytest.raises(BadInput, match=r"one flat picture.*\.zip, \.ora or \.psd"):
        LayerStack.open(scene.save(tmp_path / "flat.png"))


@pytest.mark.parametrize("suffix", LAYERED)
def test_a_canvas_above_the_callers_limit_is_refused(scene: LayerStack, suffix: str) -> None:
    """A service sets its own limit; 2,867 pixels pass one of 2,867 and fail one of 2,866."""
    data = documents.encode(scene, suffix)
    assert documents.decode(data, max_pixels=61 * 47).width == 61
    with pytest.raises(BadInput, match="61x47"):
        documents.decode(data, max_pixels=61 * 47 - 1)


@pytest.mark.parametrize("suffix", LAYERED)
def test_a_document_of_one_clear_pixel(suffix: str) -> None:
    """The smallest one, without a background."""
    stack = LayerStack(1, 1)
    stack.add(np.zeros((1, 1, 4), np.uint8), "x")
    assert_same(stack, documents.decode(documents.encode(stack, suffix)))


def test_parameters_larger_than_any_reader_accepts_are_refused(scene: LayerStack) -> None:
    """Refused when written, not found out when read."""
    scene.update("layer-1", parameters={"log": "x" * 5_000_000})
    for suffix in EVERY:
        with pytest.raises(BadInput, match="is larger than"):
            documents.encode(scene, suffix)


def test_manifests_are_json_for_anybody(scene: LayerStack) -> None:
    """Prompts stay readable in the zip: no escapes for other scripts."""
    import zipfile
    from io import BytesIO

    with zipfile.ZipFile(BytesIO(documents.encode(scene, ".zip"))) as archive:
        text = archive.read("manifest.json").decode()
    assert "赤い球 🔴" in text
    assert json.loads(text)["written_by"].startswith("bfs ")
