"""TIFF: the tags say which directory is the picture and what its samples mean, not the container that they are stored in."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from picture_files import ASCII, BYTE, LONG, RATIONAL, SHORT, Directory, Tag, deflated, tags, tiff_file
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture import tiff
from bfs_model.picture.images import read_image

APART: Tag = (SHORT, 2)
RAMP = np.array([0, 257, 32768, 65535], np.uint16)
COLOURS = np.array([[0, 257, 65535], [32768, 1000, 40000], [1, 2, 3], [65535, 65535, 65535]], np.uint16)


def packed(values: Sequence[int], bits: int) -> bytes:
    """Numbers of `bits` bits one after the other, the last byte filled up."""
    text = "".join(f"{value:0{bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def both(strips: list[bytes], known: dict[int, Tag], order: str = "<") -> list[bytes]:
    """A file as it is, and compressed: Pillow reads them by different ways."""
    return [tiff_file((strips, known), order=order), tiff_file(deflated(strips, known), order=order)]


def greys(data: bytes) -> list[int]:
    return [int(v) for v in read_image(data).rgb[0, :, 1]]


class TestGrey:
    """Bits per sample and photometric interpretation decide what is white."""

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_sixteen_bits(self, order: str) -> None:
        """65535 is white, in both byte orders."""
        for data in both([RAMP.astype(f"{order}u2").tobytes()], tags(4, 16, 1), order):
            assert greys(data) == [0, 1, 128, 255]

    def test_twelve_bits(self) -> None:
        """4095 is white: a ramp comes out as a ramp."""
        for data in both([packed([0, 16, 2048, 4095], 12)], tags(4, 12, 1)):
            assert greys(data) == [0, 1, 128, 255]

    @pytest.mark.parametrize(
        ("bits", "samples", "expected"),
        [
            (1, [1, 0, 1, 1], [0, 255, 0, 0]),
            (2, [0, 1, 2, 3], [255, 170, 85, 0]),
            (4, [0, 1, 8, 15], [255, 238, 119, 0]),
            (8, [0, 1, 128, 255], [255, 254, 127, 0]),
        ],
    )
    def test_zero_is_white(self, bits: int, samples: list[int], expected: list[int]) -> None:
        """Scanners and fax machines turn grey over; the picture is the same in any number of bits."""
        for data in both([packed(samples, bits)], tags(4, bits, 0)):
            assert greys(data) == expected
        for data in both([packed(samples, bits)], tags(4, bits, 1)):
            assert greys(data) == [255 - value for value in expected]

    def test_zero_is_white_in_sixteen_bits(self) -> None:
        """Where Pillow leaves the samples as they are."""
        for data in both([RAMP.tobytes()], tags(4, 16, 0)):
            assert greys(data) == [255, 254, 127, 0]

    def test_alpha(self) -> None:
        """Unassociated, associated (colours come back undivided) and unspecified, which is no alpha."""
        pixels = bytes([100, 128, 10, 255])
        for kind, colours, alpha in ((2, [100, 10], [128, 255]), (1, [199, 10], [128, 255]), (0, [100, 10], None)):
            for data in both([pixels], tags(2, (8, 8), 1, t338=(SHORT, kind))):
                loaded = read_image(data)
                assert loaded.rgb[0, :, 0].tolist() == colours
                assert (None if loaded.alpha is None else loaded.alpha[0].tolist()) == alpha


class TestColour:
    """Planes together and apart, alpha of each kind, colour spaces."""

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("extra", [None, 1, 2])
    @pytest.mark.parametrize("apart", [False, True])
    def test_sixteen_bits(self, order: str, extra: int | None, apart: bool) -> None:
        """High bytes, whichever way they lie; what is premultiplied is divided, or refused where Pillow cannot."""
        pixels = np.hstack([COLOURS // 2, np.full((4, 1), 32896, np.uint16)]) if extra else COLOURS
        pixels = pixels.astype(f"{order}u2")
        strips = [pixels[:, i].tobytes() for i in range(pixels.shape[1])] if apart else [pixels.tobytes()]
        more: dict[str, Tag] = ({"t284": APART} if apart else {}) | ({"t338": (SHORT, extra)} if extra else {})
        expected = COLOURS[None] / 257 / (2 if extra == 2 else 1)
        for number, data in enumerate(both(strips, tags(4, (16,) * pixels.shape[1], 2, **more), order)):
            if apart and extra == 1 and number == 0:
                with pytest.raises(BadInput, match="cannot be decoded"):
                    read_image(data)
                continue
            loaded = read_image(data)
            assert np.abs(loaded.rgb - expected).max() <= 3  # high bytes alone, of which premultiplied ones are doubled
            assert (loaded.alpha == 128).all() if extra else loaded.alpha is None

    def test_premultiplied_alpha(self) -> None:
        """ExtraSamples says whether colours were multiplied by alpha."""
        for extra, expected in ((1, [199, 99, 39]), (2, [100, 50, 20])):
            for data in both([bytes([100, 50, 20, 128])], tags(1, (8,) * 4, 2, t338=(SHORT, extra))):
                assert read_image(data).rgba()[0, 0].tolist() == [*expected, 128]

    def test_cielab(self) -> None:
        """Photometric 8: L* = 50, a* = b* = 0 is mid grey; a* and b* have a sign. By ICC.1:2010, annex A, from D50."""
        for data in both([bytes([128, 0, 0, 255, 0, 0, 0, 0, 0, 138, 206, 236])], tags(4, (8,) * 3, 8)):
            grey, white, black, cyan = (pixel.tolist() for pixel in read_image(data).rgb[0])
            assert [grey, white, black] == [pytest.approx([level] * 3, abs=1) for level in (119, 255, 0)]
            assert cyan == pytest.approx([0, 150, 166], abs=4)  # L* 54.1, a* -50, b* -20, beyond sRGB in red

    def test_ycbcr(self) -> None:
        """Whole chroma is read in either way; shared chroma that is not compressed would come out shifted."""
        for data in both([bytes([100, 90, 200])], tags(1, (8,) * 3, 6, t530=(SHORT, (1, 1)))):
            assert read_image(data).rgb[0, 0].tolist() == pytest.approx([201, 62, 33], abs=1)
        shared = tags(2, (8,) * 3, 6, t530=(SHORT, (2, 1)))
        with pytest.raises(BadInput, match="uncompressed YCbCr"):
            read_image(tiff_file(([bytes([100, 100, 90, 200])], shared)))

    def test_cmyk(self) -> None:
        """Ink on paper, planes together or apart; other inks have colours of their own."""
        assert read_image(tiff_file(([bytes([0, 255, 255, 0])], tags(1, (8,) * 4, 5)))).rgb[0, 0].tolist() == [255, 0, 0]
        apart = ([bytes([v]) for v in (0, 255, 255, 0)], tags(1, (8,) * 4, 5, t284=APART))
        assert read_image(tiff_file(apart)).rgb[0, 0].tolist() == [255, 0, 0]
        with pytest.raises(BadInput, match="other inks"):
            read_image(tiff_file(([bytes(4)], tags(1, (8,) * 4, 5, t332=(SHORT, 2)))))

    @pytest.mark.parametrize("factor", [1, 257])
    def test_colour_maps(self, factor: int) -> None:
        """Of 16 bits, as the specification has it, or of the 8 that some programs write."""
        values = [v * factor for v in [0, 10, 200, 255] + [0] * 12] * 3
        assert greys(tiff_file(([bytes([0x01, 0x23])], tags(4, 4, 3, t320=(SHORT, values))))) == [0, 10, 200, 255]


class TestRefused:
    """What has no one meaning is refused with its reason, in compressed files too."""

    @pytest.mark.parametrize(
        ("bits", "photometric", "kind", "rule"),
        [
            (32, 1, 1, "samples of 32 bits"),
            (32, 1, 2, "signed samples"),
            (16, 1, 2, "signed samples"),
            (8, 1, 2, "signed samples"),
            (32, 1, 3, "floating-point samples"),
            (32, 0, 3, "floating-point"),
            ((32,) * 3, 2, 3, "floating-point samples"),
            ((16,) * 3, 2, 3, "floating-point samples"),
            ((64,) * 3, 2, 3, "floating-point"),
            (32, 1, 5, "complex samples"),
            ((32,) * 3, 2, 1, "samples of 32 bits"),
            (10, 1, 1, "photometric interpretation 1, 10 bits"),
            ((8,) * 3, 9, 1, "photometric interpretation 9, 8+8+8 bits"),
            ((8,) * 5, 5, 1, "photometric interpretation 5"),
        ],
    )
    def test_samples_without_a_range(self, bits: Any, photometric: int, kind: int, rule: str) -> None:
        """Floats, signs, 32 bits: the line says which of them, and what to save instead."""
        num = 1 if isinstance(bits, int) else len(bits)
        for data in both([bytes(64)], tags(2, bits, photometric, t339=(SHORT, [kind] * num))):
            with pytest.raises(BadInput, match="save it with 8 or 16 bits per channel") as caught:
                read_image(data)
            assert rule in caught.value.rule

    def test_a_range_of_its_own(self) -> None:
        """ReferenceBlackWhite other than the whole range: studio levels."""
        plain = tags(1, (8,) * 3, 6, t530=(SHORT, (1, 1)), t532=(RATIONAL, (0, 255, 128, 255, 128, 255)))
        assert read_image(tiff_file(([bytes([100, 90, 200])], plain))).width == 1
        with pytest.raises(BadInput, match="ReferenceBlackWhite"):
            read_image(tiff_file(([bytes([100, 90, 200])], plain | {532: (RATIONAL, (16, 235, 128, 240, 128, 240))})))

    def test_grey_and_alpha_apart(self) -> None:
        """Pillow would lose the alpha."""
        for data in both([b"\x64\x0a", b"\x80\xff"], tags(2, (8, 8), 1, t338=(SHORT, 2), t284=APART)):
            with pytest.raises(BadInput, match="planes apart"):
                read_image(data)

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_images_of_no_file(self, dtype: type) -> None:
        """As arrays of these kinds: nothing says what is white."""
        with pytest.raises(BadInput, match="no defined range"):
            read_image(Image.fromarray(np.zeros((2, 2), dtype)))

    def test_an_open_file_is_the_file(self) -> None:
        """Also when it was loaded already: its tags are still there."""
        data = tiff_file(([packed([0, 16, 2048, 4095], 12)], tags(4, 12, 1)))
        for load in (False, True):
            image = Image.open(io.BytesIO(data))
            if load:
                image.load()
            assert read_image(image).rgb[0, :, 0].tolist() == [0, 1, 128, 255]
        image = Image.open(io.BytesIO(tiff_file(([bytes(16)], tags(4, 32, 1, t339=(SHORT, 3))))))
        image.load()
        with pytest.raises(BadInput, match="floating-point"):
            read_image(image)


FULL: Directory = ([bytes([0, 1, 128, 255])], tags(4, 8, 1))
SMALL: Directory = ([bytes([7, 7])], tags(2, 8, 1, t254=(LONG, 1)))
OLD_SMALL: Directory = ([bytes([7, 7])], tags(2, 8, 1, t255=(SHORT, 2)))
MASK: Directory = ([b"\xf0"], tags(4, 1, 4, t254=(LONG, 4)))
PAGE: Directory = (FULL[0], {**FULL[1], 254: (LONG, 2)})


class TestPreviews:
    """A reduced copy, or a mask, is none of the frames."""

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(
        "directories",
        [(FULL, SMALL), (SMALL, FULL), (FULL, OLD_SMALL), (FULL, MASK), (MASK, FULL), (FULL, SMALL, SMALL, MASK), (PAGE, SMALL)],
    )
    def test_the_picture_itself_is_read(self, directories: tuple[Directory, ...], order: str) -> None:
        """Wherever it stands among its copies, also where Pillow cannot read one of them."""
        assert greys(tiff_file(*directories, order=order)) == [0, 1, 128, 255]

    @pytest.mark.parametrize("directories", [(FULL, FULL), (PAGE, PAGE), (FULL, SMALL, FULL)])
    def test_pages_are_refused(self, directories: tuple[Directory, ...]) -> None:
        """Which was meant cannot be known."""
        with pytest.raises(BadInput, match="holds more than one frame; give one still picture"):
            read_image(tiff_file(*directories))

    def test_a_copy_alone_is_a_picture(self) -> None:
        """There is nothing else to read."""
        assert greys(tiff_file(SMALL)) == [7, 7]

    def test_a_chain_that_leads_nowhere_ends(self) -> None:
        """Back to its start, or out of the file: the picture before is whole."""
        data = bytearray(tiff_file(FULL))
        for link in (struct.unpack_from("<L", data, 4)[0], 0xFFFFFFF0):
            struct.pack_into("<L", data, len(data) - 4, link)
            assert greys(bytes(data)) == [0, 1, 128, 255]

    def test_directories_without_end_cost_little(self) -> None:
        """Thousands of overlapping directories with thousands of entries each: the walk is cut off, then refused or read."""
        data = bytearray(tiff_file(FULL)) + bytes(2)
        for _ in range(30_000):
            data += struct.pack("<H", 60_000)
        with pytest.raises(BadInput):
            read_image(bytes(data[:4]) + struct.pack("<L", len(data) - 60_000) + bytes(data[8:]))

    def test_tags_that_share_their_values_cost_little(self) -> None:
        """A hundred directories, each of whose tags points to the same 65,536 numbers: they are not all kept."""
        count = 2**16
        values = bytes(2 * count)
        data, start = bytearray(tiff_file(FULL)), len(tiff_file(FULL))
        data += values
        tags = (254, 258, 262, 277, 279, 284, 332, 338, 339)
        for i in range(100):
            here = len(data)
            data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", tag, 3, count, start) for tag in tags)
            data += struct.pack("<L", here + 2 + 12 * len(tags) + 4 if i < 99 else 0)
        first = start + len(values)
        found = tiff._directories(bytes(data[:4]) + struct.pack("<L", first) + bytes(data[8:]))
        assert 1 <= len(found) < 5


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@pytest.mark.parametrize(
    "more",
    [
        {34665: (LONG, 9_999_999)},
        {34853: (LONG, 3)},
        {700: (BYTE, bytes(3 << 20))},
        {65000: (BYTE, bytes(1 << 20))},
        {34675: (BYTE, b"junkjunk")},
        {282: (RATIONAL, 0), 283: (RATIONAL, 0)},
        {282: (ASCII, b"wide\0\0"), 274: (ASCII, b"top\0\0\0")},
        {270: (ASCII, b"\xff\xfe\xe9\0")},
        {34377: (BYTE, b"8BIMjunk")},
        {330: (LONG, 9_999_999)},
    ],
)
def test_notes_do_not_cost_the_picture(more: dict[int, Tag]) -> None:
    """Damaged EXIF and GPS, long XMP and private data, an ICC profile that is none, texts where numbers belong."""
    assert greys(tiff_file((FULL[0], {**FULL[1], **more}))) == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    """Applied once, compressed or not, to the picture behind a preview too."""
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T}
    stored |= {6: np.rot90(upright, 1), 7: upright.T[::-1, ::-1], 8: np.rot90(upright, -1)}
    pixels = stored[orientation]
    size: dict[int, Tag] = {256: (LONG, pixels.shape[1]), 257: (LONG, pixels.shape[0]), 278: (LONG, pixels.shape[0])}
    directory = ([pixels.tobytes()], tags(1, 8, 1) | size | {274: (SHORT, orientation)})
    for files in ((directory,), (deflated(*directory),), (SMALL, directory)):
        assert np.array_equal(read_image(tiff_file(*files)).rgb[..., 0], upright)
