"""OpenRaster: checked against the specification without our reader, and other programs' files read."""

import io
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document.format.zips import pack
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.images import png_bytes

RED = np.full((5, 7, 4), [200, 10, 20, 255], np.uint8)
HALF = np.full((2, 3, 4), [0, 200, 0, 128], np.uint8)


def foreign(stack_xml: str, **more: bytes) -> bytes:
    """A file as another program writes it: no manifest of ours."""
    entries = {"mimetype": b"image/openraster", "stack.xml": stack_xml.encode()}
    entries |= {"data/red.png": png_bytes(RED), "data/half.png": png_bytes(HALF)} | more
    return pack(entries.items())


def image_xml(layers: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><image w="7" h="5" version="0.0.1"><stack>{layers}</stack></image>'


def test_the_file_keeps_the_specification(scene: LayerStack) -> None:
    """First entry `mimetype`, stored, without extra field; well-formed stack from top to bottom; all pictures there."""
    data = documents.encode(scene, ".ora")
    assert data[:4] == b"PK\x03\x04"
    assert data[8:10] == b"\0\0"  # stored
    assert data[26:30] == b"\x08\0\0\0"  # name of 8 bytes, no extra field
    assert data[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert all(not name.startswith("/") and ".." not in name for name in archive.namelist())
        root = ElementTree.fromstring(archive.read("stack.xml"))
        assert (root.tag, root.get("w"), root.get("h")) == ("image", "61", "47")
        (stack,) = root
        assert stack.tag == "stack"
        for element, layer in zip(stack, reversed(scene.layers), strict=True):
            assert element.tag == "layer"
            assert (element.get("name"), element.get("x"), element.get("y")) == (layer.name, str(layer.x), str(layer.y))
            assert float(element.get("opacity", "")) == layer.opacity
            assert element.get("visibility") == ("visible" if layer.visible else "hidden")
            picture = Image.open(io.BytesIO(archive.read(element.get("src", ""))))
            assert picture.format == "PNG"
            assert np.array_equal(np.asarray(picture.convert("RGBA")), layer.rgba)
        operators = [element.get("composite-op") for element in stack]
        assert operators == ["svg:src-over", "svg:src-over", "svg:screen", "svg:src-over", "svg:multiply", "svg:src-over", "svg:src-over"]
        merged = Image.open(io.BytesIO(archive.read("mergedimage.png")))
        assert np.array_equal(np.asarray(merged), np.asarray(scene.flatten()))
        thumbnail = Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png")))
        assert thumbnail.size == (61, 47)


def test_the_thumbnail_is_at_most_256_pixels() -> None:
    """The specification's limit, keeping the aspect."""
    data = documents.encode(LayerStack.new(np.zeros((300, 1200, 3), np.uint8)), ".ora")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png"))).size == (256, 64)


def test_another_programs_file() -> None:
    """Order, place, defaults; an opaque layer of the canvas' size at the back is the background."""
    layers = '<layer name="half" src="data/half.png" x="-1" y="2" opacity="0.5" composite-op="svg:screen"/><layer src="data/red.png"/>'
    stack = documents.decode(foreign(image_xml(layers)))
    back, half = stack.layers
    assert (back.role, back.name, back.opacity, back.visible, (back.x, back.y)) == ("background", "Layer", 1.0, True, (0, 0))
    assert (half.role, half.name, half.x, half.y, half.opacity, half.blend_mode) == ("foreground", "half", -1, 2, 0.5, "screen")
    assert np.array_equal(half.rgba, HALF)
    assert half.prompt is None
    with pytest.raises(BadInput, match="was not written by BFS"):
        documents.read_manifest(foreign(image_xml(layers)))


def test_groups_that_change_nothing_are_opened_up() -> None:
    """Their layers keep their order, and the names of all groups around them."""
    inner = '<stack name="inner" isolation="isolate"><layer name="b" src="data/half.png"/></stack>'
    layers = f'<layer name="c" src="data/half.png"/><stack name="group" opacity="1.0">{inner}<layer name="a" src="data/red.png"/></stack>'
    read = documents.decode(foreign(image_xml(layers)))
    assert [(layer.name, layer.group) for layer in read] == [("a", "group"), ("b", "group / inner"), ("c", None)]


LAYER = '<layer name="n" src="data/red.png"/>'


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (image_xml(f'<stack name="g" opacity="0.5">{LAYER}</stack>'), "the group 'g'"),
        (image_xml(f'<stack name="g" x="5">{LAYER}</stack>'), "the group 'g'"),
        (image_xml(f'<stack name="g" composite-op="svg:multiply">{LAYER}</stack>'), "the group 'g'"),
        (image_xml("<stack>" * 40 + LAYER + "</stack>" * 40), "the group"),
        (image_xml('<layer name="n" src="data/red.png" composite-op="svg:color-dodge"/>'), "color-dodge"),
        (image_xml('<text name="n"/>'), "kind 'text'"),
        (image_xml('<layer src="data/none.png"/>'), "lacks its entry 'data/none.png'"),
        (image_xml('<layer src="../../etc/passwd"/>'), "lacks its entry"),
        (image_xml('<layer src="data/junk.png"/>'), "is not a PNG"),
        (image_xml('<layer src="data/red.png" x="one"/>'), "x is 'one'"),
        (image_xml('<layer src="data/red.png" y="99999999999"/>'), "y is '99999999999'"),
        (image_xml('<layer src="data/red.png" opacity="much"/>'), "opacity is 'much'"),
        (image_xml('<layer src="data/red.png" opacity="7"/>'), "opacity is not between"),
        (image_xml(""), "has 0 layers"),
        (image_xml(LAYER * 600), "has 600 layers"),
        (image_xml(LAYER).replace('w="7"', 'w="70000"').replace('h="5"', 'h="70000"'), "70000x70000"),
        (image_xml(LAYER).replace('w="7"', ""), "w is None"),
        (image_xml(LAYER).replace("<stack>", "<stack"), "not XML"),
        ("<svg/>", "without an image"),
        ('<!DOCTYPE image [<!ENTITY a "b">]>' + image_xml(LAYER)[38:], "declares entities"),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_reason(xml: str, reason: str) -> None:
    """Nothing is dropped silently, and nothing hostile gets further than a sentence."""
    with pytest.raises(BadInput) as caught:
        documents.decode(foreign(xml, **{"data/junk.png": b"junk"}))
    assert caught.value.key == "document"
    assert reason in str(caught.value)
