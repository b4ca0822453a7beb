"""PNG: nothing that is not its picture costs the picture, and clear colours are compared in all their bits."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from picture_files import chunk, png_file, segment
from PIL import Image, ImageCms

from bfs_model.errors import BadInput
from bfs_model.picture.images import read_image

ROW = bytes([0, 1, 128, 255])
LONG_TEXT = zlib.compress(b"x" * (3 << 20))
ADDED = {
    "compressed text": chunk(b"zTXt", b"prompt\0\0" + LONG_TEXT),
    "compressed international text": chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG_TEXT),
    "plain text": chunk(b"tEXt", b"workflow\0" + b"x" * (70 << 20)),
    "EXIF": chunk(b"eXIf", b"MM\0*" + bytes(3 << 20)),
    "EXIF as text": chunk(b"zTXt", b"Raw profile type exif\0\0" + LONG_TEXT),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * (3 << 20)),
    "unpacks to 40 MiB": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(40 << 20))),
    "unknown method": chunk(b"zTXt", b"a\0\7xx") + chunk(b"iCCP", b"a\0\7xx"),
    "wrong checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    "too short": chunk(b"gAMA", b"\0") + chunk(b"cHRM", b"") + chunk(b"pHYs", b"") + chunk(b"sRGB", b""),
    "private": chunk(b"prVt", b"x" * 100),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # it warns of EXIF that it goes on without
@pytest.mark.parametrize("name", ADDED)
def test_what_is_not_the_picture_does_not_cost_it(name: str) -> None:
    """Before and after the pixels: long, damaged and unknown chunks are skipped."""
    for data in (png_file(4, 8, 0, ROW, before=ADDED[name]), png_file(4, 8, 0, ROW, after=ADDED[name])):
        assert read_image(data).rgb[0, :, 1].tolist() == list(ROW)


def test_the_limits_of_other_readers_stay() -> None:
    """Pillow itself still refuses: nothing was changed for the whole process."""
    from PIL import PngImagePlugin

    read_image(png_file(4, 8, 0, ROW, before=ADDED["compressed text"]))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(png_file(4, 8, 0, ROW, before=ADDED["compressed text"])))


def test_damage_to_the_picture_is_still_found() -> None:
    """A flipped bit in the header, a clear colour that is cut off, pixels that end too early."""
    whole = png_file(4, 8, 0, ROW)
    for data in (whole[:19] + b"\5" + whole[20:], png_file(4, 8, 2, bytes(12), before=chunk(b"tRNS", b"\0")), whole[:45]):
        with pytest.raises(BadInput, match="decoded"):
            read_image(data)


def test_a_large_profile_counts() -> None:
    """Beyond the mebibyte at which Pillow stops: profiles of printers and scanners."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear = profile_with_gamma(1.0)
    padded = struct.pack(">I", len(linear) + (2 << 20)) + linear[4:] + np.random.default_rng(1).bytes(2 << 20)
    data = png_file(1, 8, 0, b"\x80", before=chunk(b"iCCP", b"name\0\0" + zlib.compress(padded)))
    assert read_image(data).rgb[0, 0].tolist() == pytest.approx([188] * 3, abs=1)
    assert read_image(png_file(1, 8, 0, b"\x80", before=chunk(b"iCCP", b"name\0\0" + zlib.compress(profile)))).rgb[0, 0, 0] == 128


def test_a_profile_that_is_left_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """As every other profile that does not apply."""
    with caplog.at_level(logging.WARNING):
        read_image(png_file(4, 8, 0, ROW, before=ADDED["unpacks to 40 MiB"]))
    assert "ICC profile ignored" in caplog.text


def test_orientation_in_text_counts() -> None:
    """Older ImageMagick writes EXIF as hexadecimal text, other programs XMP."""
    exif = Image.Exif()
    exif[0x0112] = 3
    raw = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>')
    for more in (packed, chunk(b"tEXt", b"Raw profile type exif\0" + text), xmp, chunk(b"eXIf", raw[6:])):
        assert read_image(png_file(4, 8, 0, ROW, before=more)).rgb[0, :, 1].tolist() == list(ROW)[::-1]


class TestClearColour:
    """tRNS names one colour that is clear, in the samples of the file."""

    @pytest.mark.parametrize(("depth", "row", "clear"), [(1, b"\xa0", 0), (2, b"\x1b", 2), (4, b"\x0f\x2f", 2), (8, ROW, 128)])
    def test_grey_of_every_depth(self, depth: int, row: bytes, clear: int) -> None:
        """The value is one of the file's, not of the 8 bits that it is widened to; bits above it are not looked at."""
        samples = [int(bit, 2) for bit in ("".join(f"{byte:08b}" for byte in row)[i * depth : (i + 1) * depth] for i in range(4))]
        for value in (clear, clear + 2**depth):
            loaded = read_image(png_file(4, depth, 0, row, before=chunk(b"tRNS", struct.pack(">H", value))))
            assert loaded.alpha is not None
            assert loaded.alpha[0].tolist() == [0 if sample == clear else 255 for sample in samples]
            assert loaded.rgb[0, :, 2].tolist() == [sample * 255 // (2**depth - 1) for sample in samples]

    @pytest.mark.parametrize("interlaced", [False, True])
    def test_sixteen_bit_colour(self, interlaced: bool) -> None:
        """Of colours with equal high bytes only the very one is clear."""
        row = struct.pack(">12H", 1000, 2000, 3000, 1001, 2000, 3000, 1000, 2000, 3000, 65535, 0, 0)
        data = bytearray(png_file(4, 16, 2, row, before=chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))))
        if interlaced:  # Adam7 takes columns 0, 2 and 1, 3 of a row of four apart
            head = chunk(b"IHDR", bytes(data[16:28]) + b"\1")
            passes = b"\0" + row[:6] + b"\0" + row[12:18] + b"\0" + row[6:12] + row[18:]
            data[8:33] = head
            start = data.index(b"IDAT") - 4
            data[start:] = chunk(b"IDAT", zlib.compress(passes)) + chunk(b"IEND", b"")
        for source in (bytes(data), Image.open(io.BytesIO(bytes(data)))):
            loaded = read_image(source)
            assert loaded.alpha is not None and loaded.alpha[0].tolist() == [0, 255, 0, 255]
            assert loaded.rgb[0, 3].tolist() == [255, 0, 0]

    def test_an_open_file_is_the_file(self) -> None:
        """A PIL image that was not loaded yet is read from its file, so that the depth is known."""
        image = Image.open(io.BytesIO(png_file(4, 2, 0, b"\x1b", before=chunk(b"tRNS", b"\0\2"))))
        loaded = read_image(image)
        assert loaded.alpha is not None and loaded.alpha[0].tolist() == [255, 255, 0, 255]

    def test_a_loaded_image(self) -> None:
        """Of 16-bit colours Pillow keeps the high bytes: they decide, and nothing crashes."""
        row = struct.pack(">6H", 1000, 2000, 3000, 65535, 0, 0)
        image = Image.open(io.BytesIO(png_file(2, 16, 2, row, before=chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))))
        image.load()
        loaded = read_image(image)
        assert loaded.alpha is not None and loaded.alpha[0].tolist() == [0, 255]


class TestGreyProfile:
    """A grey picture is converted as grey, whatever is transparent in it."""

    @pytest.mark.parametrize(
        ("depth", "kind", "row", "clear"),
        [
            (8, 0, b"\x80\x07", b"\0\7"),
            (16, 0, b"\x80\x80\0\7", b"\0\7"),
            (8, 4, b"\x80\xff\0\0", b""),
            (16, 4, b"\x80\x80\xff\xff\0\0\0\0", b""),
        ],
    )
    def test_with_transparency(self, depth: int, kind: int, row: bytes, clear: bytes) -> None:
        """A linear grey of one half is light in sRGB, with a clear value and with a channel of alpha, in 8 bits and in 16."""
        profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile_with_gamma(1.0)))
        loaded = read_image(png_file(2, depth, kind, row, before=profile + (chunk(b"tRNS", clear) if clear else b"")))
        assert loaded.rgb[0, 0].tolist() == pytest.approx([188] * 3, abs=1)
        assert loaded.alpha is not None and loaded.alpha[0].tolist() == [255, 0]

    def test_of_an_image_already_open(self) -> None:
        """The same through a PIL image that was loaded."""
        profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile_with_gamma(1.0)))
        image = Image.open(io.BytesIO(png_file(2, 8, 0, b"\x80\x07", before=profile + chunk(b"tRNS", b"\0\7"))))
        image.load()
        loaded = read_image(image)
        assert loaded.rgb[0, 0].tolist() == pytest.approx([188] * 3, abs=1)
        assert loaded.alpha is not None and loaded.alpha[0].tolist() == [255, 0]


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xE3, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize("start", [b"", b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0II*\0", b"Photoshop 3.0\x008BIM", b"Adobe"])
def test_notes_in_a_jpeg_do_not_cost_the_picture(marker: int, start: bytes) -> None:
    """Every marker of applications, cut off at every length."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 40)).save(out, "JPEG", quality=95)
    data = out.getvalue()
    for length in (0, 1, 2, 3, 5, 8, 13):
        changed = data[:2] + segment(marker, start + b"\7" * length) + data[2:]
        assert read_image(changed).rgb[4, 4].tolist() == pytest.approx([200, 30, 40], abs=60)


def profile_with_gamma(gamma: float) -> bytes:
    """A minimal grey ICC profile, version 2 (ICC.1:2001-04)."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0",
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp")
    header += bytes(68 - len(header)) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body
