"""The canonical zip: damage is found, and no hostile one costs more than its refusal."""

import io
import json
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document.format import archive, zips
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.integrity import IntegrityError
from bfs_model.picture.images import png_bytes


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def changed(data: bytes, **manifest: object) -> bytes:
    """The same document with other fields in its manifest."""
    entries = contents(data)
    entries["manifest.json"] = json.dumps(json.loads(entries["manifest.json"]) | manifest).encode()
    return zips.pack(entries.items())


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        documents.decode(data)
    assert caught.value.key == "document"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def data(scene: LayerStack) -> bytes:
    return documents.encode(scene, ".zip")


def test_people_find_pictures_in_it(scene: LayerStack, data: bytes) -> None:
    """PNGs that any viewer shows: one per layer, straight alpha, and the flattened picture."""
    entries = contents(data)
    assert list(entries) == ["manifest.json", "composite.png", *(f"layers/{n:03d}.png" for n in range(7))]
    ball = Image.open(io.BytesIO(entries["layers/001.png"]))
    assert np.array_equal(np.asarray(ball), scene["layer-1"].rgba)
    assert Image.open(io.BytesIO(entries["layers/000.png"])).mode == "RGB"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(entries["composite.png"]))), np.asarray(scene.flatten()))


def test_a_replaced_layer_is_found(data: bytes) -> None:
    """Each picture must be the one that the manifest lists."""
    entries = contents(data)
    entries["layers/001.png"] = png_bytes(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(IntegrityError, match=r"layers/001\.png is not the picture"):
        documents.decode(zips.pack(entries.items()))


def test_a_flipped_bit_is_found_anywhere_in_a_picture(data: bytes) -> None:
    """The zip's checksum notices what PNG's own would not."""
    start = data.index(b"IDAT", data.index(b"layers/001.png"))
    for offset in (5, 60, 300):
        broken = bytearray(data)
        broken[start + offset] ^= 4
        assert "damaged" in refusal(bytes(broken))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": "other"}, "is not a bfs-document"),
        ({"version": 2}, "is of version 2"),
        ({"width": "61"}, "width is '61'"),
        ({"width": True}, "width is True"),
        ({"width": None}, "width is not a whole number"),
        ({"width": 10**9, "height": 10**9}, "1000000000x1000000000"),
        ({"width": 0}, "0x47"),
        ({"layers": {}}, "without a list of layers"),
        ({"layers": [7]}, "without a list of layers"),
        ({"layers": [{}] * 600}, "more than 512 layers"),
    ],
)
def test_manifests_are_checked(data: bytes, fields: dict[str, object], reason: str) -> None:
    """A manifest is somebody's claim until it is checked."""
    assert reason in refusal(changed(data, **fields))
    with pytest.raises(BadInput):
        documents.read_manifest(changed(data, **fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"file": None}, "lacks its entry 'None'"),
        ({"file": "/etc/passwd"}, "lacks its entry"),
        ({"file": ["x"]}, "lacks its entry"),
        ({"sha256": None}, "is damaged"),
        ({"x": 2**40}, "x is not a whole number"),
        ({"x": 0.5}, "x is 0.5"),
        ({"opacity": "1"}, "opacity is '1'"),
        ({"opacity": 3}, "opacity is not between 0 and 1"),
        ({"blend_mode": "burn"}, "blend_mode is not a blend mode"),
        ({"role": "king"}, "role is not a role"),
        ({"box": [1, 2, 3]}, "the box [1, 2, 3]"),
        ({"box": [1e400, 0, 1, 1]}, "the box"),
        ({"seed": "7"}, "seed is '7'"),
        ({"model": "tiny"}, "model is 'tiny'"),
        ({"id": "background"}, "id is the id of another layer"),
        ({"name": "x" * 100_000}, ""),
    ],
)
def test_entries_of_layers_are_checked(data: bytes, fields: dict[str, object], reason: str) -> None:
    """Each wrong field is named; a name that is merely long is cut."""
    layers = json.loads(contents(data)["manifest.json"])["layers"]
    layers[1] |= fields
    if reason:
        assert reason in refusal(changed(data, layers=layers))
    else:
        assert len(documents.decode(changed(data, layers=layers)).layers[1].name) == 250


def test_other_zips_and_other_bytes() -> None:
    """Each says what it is not."""
    assert "is a zip and no document" in refusal(zips.pack([("a.txt", b"hello")]))
    assert "is not a document" in refusal(b"")
    assert "is not a document" in refusal(b"hello")
    assert "not a readable zip" in refusal(b"PK\x03\x04 and then nothing")
    assert "not JSON" in refusal(zips.pack([("manifest.json", b"{")]))
    assert "not JSON" in refusal(zips.pack([("manifest.json", b"[" * 4000)]))
    assert "not a bfs-document" in refusal(zips.pack([("manifest.json", b"[]")]))


class TestBombs:
    """Small files that want to become large."""

    def test_an_entry_that_unpacks_to_a_gigabyte(self) -> None:
        """Judged by what the zip itself declares, before a byte is unpacked."""
        assert "zip bomb" in refusal(zips.pack([("manifest.json", bytes(20 * 2**20))]))

    def test_an_entry_that_lies_about_its_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unpacking stops at the declared size, and the checksum does not fit."""
        honest = zips.pack([("manifest.json", bytes(20 * 2**20))])
        lying = honest.replace((20 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
        assert lying != honest
        taken = []
        original = zlib.decompressobj

        class Watched:
            def __init__(self, *args: int) -> None:
                self._inner = original(*args)

            def decompress(self, chunk: bytes, limit: int = 0) -> bytes:
                out = self._inner.decompress(chunk, limit)
                taken.append(len(out))
                return out

            def __getattr__(self, name: str) -> object:
                return getattr(self._inner, name)

        monkeypatch.setattr(zipfile.zlib, "decompressobj", Watched)
        assert "damaged" in refusal(lying)
        assert sum(taken) <= 4096

    def test_entries_together(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """Many layers that are each within the limit are not, together."""
        monkeypatch.setattr(zips, "MAX_TOTAL_BYTES", 3000)
        assert "unpacks to" in refusal(data)

    def test_pixels_together(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """Flat colours compress so well that bytes say nothing: pixels are counted as well."""
        monkeypatch.setattr(archive, "PIXEL_BUDGET", 1)
        with pytest.raises(BadInput, match="pixels, more than"):
            documents.decode(data, max_pixels=61 * 47)

    def test_a_layer_beyond_the_limit(self) -> None:
        """A layer may be larger than the canvas, but not than what a picture may be."""
        stack = LayerStack(4, 4)
        stack.add(np.full((50, 50, 4), 9, np.uint8))
        with pytest.raises(BadInput, match="50x50 pixels, more than 1,000"):
            documents.decode(documents.encode(stack, ".zip"), max_pixels=1000)

    def test_a_million_entries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counted before zipfile makes an object of each."""
        many = zips.pack([(f"{n}", b"") for n in range(1500)])
        monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
        assert "more than 1000 entries" in refusal(many)

    def test_zip64_and_double_names_and_other_compressions(self) -> None:
        """Features that no document needs and that hide sizes."""
        plain = zips.pack([("manifest.json", b"{}")])
        end = plain.rindex(b"PK\x05\x06")
        assert "more than" in refusal(plain[:end] + b"PK\x06\x07" + bytes(16) + plain[end:])
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as writer:
            writer.writestr("manifest.json", b"{}")
            with pytest.warns(UserWarning, match="Duplicate name"):
                writer.writestr("manifest.json", b"{}")
        assert "twice" in refusal(out.getvalue())
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as writer:
            writer.writestr("manifest.json", b"{}")
        assert "compression that is not allowed" in refusal(out.getvalue())


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ({"a.txt": b"x"}, "is a zip and no document"),
        ({"mimetype": b"application/x-krita", "maindoc.xml": b"<DOC/>"}, "is a zip of application/x-krita and no document"),
        ({"mimetype": b"\xff\n\x00text"}, "is a zip of"),
        ({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"}, "is a zip and no document"),
    ],
)
def test_any_other_zip_is_told_what_it_is_not(entries: dict[str, bytes], kind: str) -> None:
    """In one line, for opening and for reading the manifest alike."""
    data = zips.pack(entries.items())
    said = refusal(data)
    assert kind in said and "neither the manifest.json of BFS nor OpenRaster's stack.xml; give a .zip of BFS" in said
    with pytest.raises(BadInput) as caught:
        documents.read_manifest(data)
    assert str(caught.value) == said
    assert "is not a bfs-document" in refusal(zips.pack([("manifest.json", b'{"manifest_version": 3}')]))
