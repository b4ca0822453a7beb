"""PSD, by two readers that did not write it: Pillow's, and psd-tools' own record of what stands in the file."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import BlendMode, ChannelID, Compression, Tag

from bfs_model.document import file as documents
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.colour import srgb_profile


@pytest.fixture
def data(scene: LayerStack) -> bytes:
    return documents.encode(scene, ".psd")


def edited(data: bytes, edit) -> bytes:
    """What an editor saves after `edit(document)`: psd-tools rewrites the file."""
    document = PSDImage.open(io.BytesIO(data))
    edit(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


class TestWritten:
    """The file itself."""

    def test_the_header_says_three_channels(self, data: bytes) -> None:
        """With four, Photoshop and Clip Studio show an alpha channel or a selection that nobody made."""
        record = PSDImage.open(io.BytesIO(data))._record
        assert (record.header.channels, record.header.depth, record.header.version) == (3, 8, 1)
        assert record.layer_and_mask_information.layer_info.layer_count == 7

    def test_transparency_is_a_channel_not_a_mask(self, data: bytes) -> None:
        """A layer with a mask cannot be dragged out of the document cleanly."""
        for layer in PSDImage.open(io.BytesIO(data)):
            assert not layer.has_mask()
            channels = [channel.id for channel in layer._record.channel_info]
            assert channels == [ChannelID.TRANSPARENCY_MASK, ChannelID.CHANNEL_0, ChannelID.CHANNEL_1, ChannelID.CHANNEL_2]

    def test_psd_tools_reads_every_property(self, scene: LayerStack, data: bytes) -> None:
        """Names in every script, places, opacity, visibility, blend mode, pixels."""
        modes = {"normal": BlendMode.NORMAL, "multiply": BlendMode.MULTIPLY, "screen": BlendMode.SCREEN}
        for read, layer in zip(PSDImage.open(io.BytesIO(data)), scene, strict=True):
            assert (read.name, read.left, read.top, read.width, read.height) == (layer.name, layer.x, layer.y, layer.width, layer.height)
            assert (read.opacity, read.visible) == (round(layer.opacity * 255), layer.visible)
            assert read.blend_mode == modes[layer.blend_mode]
            assert np.array_equal(np.asarray(read.topil()), layer.rgba)

    def test_everything_is_compressed(self, data: bytes) -> None:
        """RLE for layers and for the merged picture, which psd-tools would store raw."""
        record = PSDImage.open(io.BytesIO(data))._record
        assert record.image_data.compression == Compression.RLE
        assert all(
            c.compression == Compression.RLE for layer in record.layer_and_mask_information.layer_info.channel_image_data for c in layer
        )

    def test_the_profile_is_inside(self, data: bytes) -> None:
        """Colours look alike on every screen."""
        assert Image.open(io.BytesIO(data)).info["icc_profile"] == srgb_profile()

    def test_pillow_shows_the_flattened_picture(self, scene: LayerStack, data: bytes) -> None:
        """What file managers and thumbnails show is our own flattening, level for level."""
        image = Image.open(io.BytesIO(data))
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(scene.flatten()))

    def test_pillow_shows_a_transparent_document_on_white(self) -> None:
        """Half clear black becomes middle grey."""
        stack = LayerStack(3, 2)
        stack.add(np.full((1, 3, 4), [0, 0, 0, 128], np.uint8))
        merged = np.asarray(Image.open(io.BytesIO(documents.encode(stack, ".psd"))))
        assert merged[0, 0].tolist() == pytest.approx([127] * 3, abs=1)
        assert merged[1, 0].tolist() == [255] * 3

    def test_pillow_reads_names_boxes_and_pixels_of_layers(self, scene: LayerStack, data: bytes) -> None:
        """An independent reader finds seven RGBA layers from bottom to top in the same places; pixels where it can show them."""
        image = Image.open(io.BytesIO(data))
        found = [(mode, box) for _, mode, box, _ in image.layers]
        assert found == [("RGBA", (layer.x, layer.y, layer.x + layer.width, layer.y + layer.height)) for layer in scene]
        names = [name for name, *_ in image.layers]  # Pillow knows the legacy field only, where foreign letters are `?`
        assert [names[i] for i in (4, 5, 6)] == ["screen", "outside", "nothing"]
        ball = scene["layer-1"]
        image.seek(2)
        pixels = np.asarray(image)[ball.y : ball.y + ball.height, ball.x : ball.x + ball.width]
        # Channels stand as A, R, G, B, as Photoshop writes them; Pillow takes the first four for R, G, B, A.
        assert np.array_equal(np.roll(pixels, -1, axis=-1), ball.rgba)

    def test_sides_beyond_the_format_are_refused(self) -> None:
        """30,000 pixels a side; the refusal names the formats that go further."""
        stack = LayerStack.new(np.zeros((1, 30_001, 3), np.uint8))
        with pytest.raises(BadInput, match=r"30001x1 .*30000.*\.ora or \.zip"):
            documents.encode(stack, ".psd")
        assert len(documents.encode(stack, ".ora")) > 0

    def test_without_psd_tools_the_extra_is_named(self, scene: LayerStack, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """bfs_model works without the package; only PSD says what is missing."""
        monkeypatch.setitem(sys.modules, "psd_tools", None)
        for action in (lambda: documents.encode(scene, ".psd"), lambda: documents.decode(data)):
            with pytest.raises(BadInput, match=r"bfs\[documents\]"):
                action()
        assert len(documents.decode(documents.encode(scene, ".ora"))) == 7


class TestReadAfterEditing:
    """A designer has worked on the file."""

    def test_moved_renamed_reordered_hidden(self, scene: LayerStack, data: bytes) -> None:
        """The new look counts, and every layer still knows how it was made."""

        def edit(document: PSDImage) -> None:
            ball = document[1]
            ball.name = "Ball, größer"
            ball.left, ball.top = -4, 11
            ball.opacity = 51
            ball.visible = False
            ball.blend_mode = BlendMode.SCREEN
            document.remove(ball)
            document.append(ball)

        again = documents.decode(edited(data, edit))
        ball = again.layers[-1]
        assert (ball.name, ball.x, ball.y, ball.opacity, ball.visible) == ("Ball, größer", -4, 11, 0.2, False)
        assert (ball.blend_mode, ball.id, ball.prompt) == ("screen", "layer-1", scene["layer-1"].prompt)
        assert [layer.id for layer in again] == ["background", "layer-2", "layer-3", "layer-4", "layer-5", "layer-6", "layer-1"]

    def test_a_new_layer_has_no_history(self, data: bytes) -> None:
        """It gets an id of its own."""
        again = documents.decode(edited(data, lambda d: d.create_pixel_layer_from_array(np.full((3, 3, 4), 9, np.uint8), name="mine")))
        assert (again.layers[-1].name, again.layers[-1].prompt, again.layers[-1].role) == ("mine", None, "foreground")
        assert len({layer.id for layer in again}) == 8

    @pytest.mark.parametrize("below", [True, False])
    def test_a_new_layer_takes_no_id_of_others(self, below: bool) -> None:
        """Below or above the one that is called as the first nameless one would be."""
        stack = LayerStack.new(np.full((8, 9, 3), 99, np.uint8))
        stack.add(np.full((8, 9, 4), 200, np.uint8), "ball")

        def retouch(document: PSDImage) -> None:
            added = document.create_pixel_layer_from_array(np.full((4, 4, 4), 9, np.uint8), name="retouch")
            if below:
                document.remove(added)
                document.insert(1, added)

        read = documents.decode(edited(documents.encode(stack, ".psd"), retouch))
        ids = {layer.name: layer.id for layer in read}
        assert (ids["ball"], ids["retouch"]) == ("layer-1", "layer-2")

    def test_the_opacity_that_fills(self, data: bytes) -> None:
        """Photoshop has two: of plain pixels they multiply."""

        def half(document: PSDImage) -> None:
            document[1].tagged_blocks.set_data(Tag.BLEND_FILL_OPACITY, 128)

        before, after = documents.decode(data).layers[1], documents.decode(edited(data, half)).layers[1]
        assert after.opacity == pytest.approx(before.opacity * 128 / 255, abs=1 / 255)

    def test_a_copy_that_kept_its_number(self, data: bytes) -> None:
        """Two layers never claim one id."""

        def edit(document: PSDImage) -> None:
            copy = document.create_pixel_layer_from_array(np.full((3, 3, 4), 9, np.uint8), name="copy")
            copy.tagged_blocks.set_data(b"lyid", 2)

        again = documents.decode(edited(data, edit))
        assert [layer.prompt is None for layer in again if layer.name in ("copy", "赤い球 🔴")] == [False, True]

    def test_layers_removed(self, data: bytes) -> None:
        """The others stay."""
        again = documents.decode(edited(data, lambda d: d.remove(d[0])))
        assert [layer.id for layer in again] == [f"layer-{n}" for n in range(1, 7)]

    def test_a_converted_profile_is_converted_back(self, data: bytes) -> None:
        """An editor may leave the document in another colour space."""
        from bfs_model.document.format.manifest import Reading
        from bfs_model.document.format.psd import _pixels

        class Grey:
            width, height = 1, 1

            def topil(self, **_: object) -> Image.Image:
                return Image.new("RGBA", (1, 1), (128, 128, 128, 7))

        pixels = _pixels(Grey(), srgb_profile(), Reading("x", 10))
        assert pixels.tolist() == [[[128, 128, 128, 7]]]


class TestRefused:
    """What a stack cannot hold, and what is not ours."""

    def test_somebody_elses_psd(self) -> None:
        """Its pixels could be read, its meaning not; OpenRaster is the way in."""
        document = PSDImage.new("RGB", (4, 4))
        document.create_pixel_layer_from_array(np.zeros((4, 4, 4), np.uint8))
        out = io.BytesIO()
        document.save(out)
        with pytest.raises(BadInput, match=r"was not written by BFS.*OpenRaster"):
            documents.decode(out.getvalue())

    @pytest.mark.parametrize("what", ["group", "mask", "mode", "clipping"])
    def test_more_than_pixels(self, data: bytes, what: str) -> None:
        """Dropping it silently would change the picture."""

        def edit(document: PSDImage) -> None:
            if what == "group":
                document.create_group([document[1]], name="group", opacity=99)
            elif what == "mask":
                document[1].create_mask(Image.new("L", (5, 5), 9))
            elif what == "mode":
                document[1].blend_mode = BlendMode.OVERLAY
            else:
                document[1].clipping = True

        with pytest.raises(BadInput, match="in the editor"):
            documents.decode(edited(data, edit))

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_other_colour_modes(self, mode: str) -> None:
        """Eight bits of RGB, nothing else."""
        out = io.BytesIO()
        PSDImage.new(mode, (4, 4)).save(out)
        with pytest.raises(BadInput, match="8-bit RGB"):
            documents.decode(out.getvalue())

    def test_a_header_that_declares_a_huge_canvas(self, data: bytes) -> None:
        """Refused by its size before anything of that size is made."""
        huge = data[:14] + (30_000).to_bytes(4, "big") + (30_000).to_bytes(4, "big") + data[22:]
        with pytest.raises(BadInput, match="30000x30000"):
            documents.decode(huge)

    def test_a_layer_that_declares_a_huge_size(self, data: bytes) -> None:
        """So is a single layer."""

        def edit(document: PSDImage) -> None:
            record = document[1]._record
            record.right, record.bottom = record.left + 29_000, record.top + 29_000

        document = PSDImage.open(io.BytesIO(data))
        edit(document)
        out = io.BytesIO()
        document._record.write(out)
        with pytest.raises(BadInput, match="29000x29000"):
            documents.decode(out.getvalue())
