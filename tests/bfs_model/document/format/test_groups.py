"""Groups: neighbours that lie together in the layers panel of an editor, and object and effects as such a pair."""

import io
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import BlendMode

from bfs_model.document import file as documents
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack

LAYERED = [".zip", ".ora", ".psd"]
GROUPS = [None, "球 ü", "球 ü", None, "b", "c", "c"]


def ball() -> np.ndarray:
    """A red square over a strip of shadow."""
    rgba = np.zeros((48, 56, 4), np.uint8)
    rgba[24:36, 14:44] = [0, 0, 0, 90]
    rgba[8:30, 12:32] = [220, 60, 40, 255]
    return rgba


@pytest.fixture
def grouped() -> LayerStack:
    """A background, a layer that was split, one in no group, two groups beside each other; one member is hidden."""
    stack = LayerStack.new(np.full((48, 56, 3), 170, np.uint8))
    whole = stack.add(ball(), "球 ü", box=(10, 6, 34, 30), prompt="a ball", seed=3, model="tiny")
    stack.split_effects(whole.id)
    patch = np.full((5, 4, 4), [10, 200, 30, 90], np.uint8)
    for number, group in enumerate(GROUPS[3:]):
        stack.add(patch, f"patch {number}", x=-2, y=7 * number, group=group, visible=number != 2, opacity=0.5)
    return stack


@pytest.mark.parametrize("suffix", LAYERED)
def test_groups_and_parts_come_back(grouped: LayerStack, suffix: str) -> None:
    """Names of groups in any script, which part a layer is, how it was made, and the picture."""
    again = documents.decode(documents.encode(grouped, suffix))
    assert [layer.group for layer in again] == GROUPS
    assert [layer.part for layer in again] == [None, "effects", "object", None, None, None, None]
    assert [layer.visible for layer in again] == [layer.visible for layer in grouped]
    assert (again[again.layers[2].id].prompt, again.layers[1].seed) == ("a ball", 3)
    assert np.array_equal(np.asarray(again.flatten()), np.asarray(grouped.flatten()))
    assert [layer["part"] for layer in documents.read_manifest(documents.encode(grouped, ".png"))["layers"]][1:3] == ["effects", "object"]


def test_a_psd_holds_real_groups(grouped: LayerStack) -> None:
    """Pass-through groups with the layers inside, every layer and group with an id of its own."""
    document = PSDImage.open(io.BytesIO(documents.encode(grouped, ".psd")))
    assert [(item.name, item.kind) for item in document][1:3] == [("球 ü", "group"), ("patch 0", "pixel")]
    assert [item.name for item in document[1]] == ["球 ü (effects)", "球 ü (object)"]
    assert document[1].blend_mode == BlendMode.PASS_THROUGH
    ids = [item.layer_id for item in document.descendants()]
    assert len(ids) == 10 and len(set(ids)) == 10


def test_an_openraster_holds_real_groups(grouped: LayerStack) -> None:
    """Stacks inside the stack, the top one first."""
    with zipfile.ZipFile(io.BytesIO(documents.encode(grouped, ".ora"))) as archive:
        stack = ElementTree.fromstring(archive.read("stack.xml")).find("stack")
    assert stack is not None
    assert [(item.tag, item.get("name")) for item in stack] == [
        ("stack", "c"),
        ("stack", "b"),
        ("layer", "patch 0"),
        ("stack", "球 ü"),
        ("layer", "Background"),
    ]
    assert [item.get("name") for item in stack[3]] == ["球 ü (object)", "球 ü (effects)"]


def test_a_group_hidden_in_an_editor_hides_its_layers(grouped: LayerStack) -> None:
    """In a PSD and in an OpenRaster file, whatever the layers say themselves."""
    document = PSDImage.open(io.BytesIO(documents.encode(grouped, ".psd")))
    document[1].visible = False
    out = io.BytesIO()
    document._record.write(out)
    out_ora = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(documents.encode(grouped, ".ora"))) as old, zipfile.ZipFile(out_ora, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "stack.xml":
                root = ElementTree.fromstring(content)
                root.find("stack")[3].set("visibility", "hidden")
                content = ElementTree.tostring(root)
            new.writestr(name, content)
    for data in (out.getvalue(), out_ora.getvalue()):
        assert [layer.visible for layer in documents.decode(data)] == [True, False, False, True, True, False, True]


def test_a_name_of_a_group_is_one_line() -> None:
    """Control characters and length as for names of layers; an empty name is no group."""
    pixels = np.zeros((1, 1, 4), np.uint8)
    assert Layer(pixels, group=" a\nb\x07 ").group == "a b"
    assert Layer(pixels, group=" ").group is None
    assert len(Layer(pixels, group="x" * 999).group or "") == 250
