"""Flat PNGs that remember how they were made."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_files import chunk
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document.format import xmp
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.images import png_bytes


def test_the_picture_is_the_flattened_one(scene: LayerStack) -> None:
    """Pixels, sRGB and nothing surprising."""
    image = Image.open(io.BytesIO(documents.encode(scene, ".png")))
    assert np.array_equal(np.asarray(image), np.asarray(scene.flatten()))
    # Pillow shows the XMP packet under a second name as well.
    assert set(image.info) - {"xmp"} == {"srgb", "Software", "bfs", "XML:com.adobe.xmp"}


def test_one_layer_on_the_whole_canvas(scene: LayerStack, tmp_path: Path) -> None:
    """RGBA of the background's size, its own pixels, and only its own manifest entry."""
    path = documents.save_layer(scene, scene["layer-1"], tmp_path / "ball.png")
    image = Image.open(path)
    assert (image.mode, image.size) == ("RGBA", (61, 47))
    assert np.array_equal(np.asarray(image), scene["layer-1"].on_canvas(61, 47))
    assert [layer["id"] for layer in documents.read_manifest(path)["layers"]] == ["layer-1"]
    with pytest.raises(BadInput, match=r"is not a \.png"):
        documents.save_layer(scene, scene["layer-1"], tmp_path / "ball.psd")


def test_editors_are_told_that_the_picture_is_generated(scene: LayerStack) -> None:
    """IPTC's digital source type stands in the XMP of a picture with generated layers, and in no other."""
    packet = Image.open(io.BytesIO(documents.encode(scene, ".png"))).info["XML:com.adobe.xmp"]
    assert "compositeWithTrainedAlgorithmicMedia" in packet
    assert "赤い球 🔴" in packet
    plain = LayerStack.new(np.zeros((2, 2, 3), np.uint8))
    assert b"TrainedAlgorithmicMedia" not in documents.encode(plain, ".png")


@pytest.mark.parametrize(
    "content", [png_bytes(np.zeros((2, 2, 3), np.uint8)), png_bytes(np.zeros((2, 2, 3), np.uint8), {"bfs": "{}"})[:60]]
)
def test_other_pngs_have_no_manifest(content: bytes) -> None:
    """Somebody else's, or a damaged one."""
    with pytest.raises(BadInput):
        documents.read_manifest(content)


def test_long_texts_of_another_program_do_not_hide_ours(scene: LayerStack) -> None:
    """Programs that generate pictures write whole workflows beside what they find."""
    data = documents.encode(scene, ".png")
    workflow = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * (3 << 20)))
    changed = data[:33] + workflow + data[33:]
    assert documents.read_manifest(changed) == documents.read_manifest(data)


def test_xmp_survives_another_program() -> None:
    """Photoshop may write a property as an attribute; both are found, entities are not expanded, junk is nothing."""
    spaces = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://ns.adobe.com/xmp/1.0/DynamicMedia/"'
    text = "{&quot;format&quot;: &quot;bfs-document&quot;}"
    as_attribute = f'<rdf:RDF {spaces}><rdf:Description d:logComment="{text}"/></rdf:RDF>'
    as_element = f"<rdf:RDF {spaces}><rdf:Description><d:logComment>{text}</d:logComment></rdf:Description></rdf:RDF>"
    for packet in (as_attribute, as_element, as_element + " \0\n"):
        assert xmp.manifest_text(packet.encode()) == '{"format": "bfs-document"}'
    other = as_element.replace("bfs-document", "something else")
    bomb = '<!DOCTYPE x [<!ENTITY a "bfs-document">]>' + as_element.replace(text, "&a;")
    for packet in (other, bomb, "junk", ""):
        assert xmp.manifest_text(packet.encode()) is None
