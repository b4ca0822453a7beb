"""Reading pictures from anybody: every mode that the formats allow, upright, in sRGB, without metadata; and writing them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from bfs_model.errors import BadInput
from bfs_model.picture import images
from bfs_model.picture.images import checkerboard, png_bytes, read_image, to_float, to_u8

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 255, (11, 17), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_header(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))


class TestModes:
    """Whatever the file's mode, what comes out is RGB uint8 and alpha."""

    def test_rgb_png_comes_back_unchanged(self) -> None:
        """The common case is exact and has no alpha."""
        loaded = read_image(encoded(Image.fromarray(RGB)))
        assert np.array_equal(loaded.rgb, RGB)
        assert loaded.alpha is None
        assert (loaded.width, loaded.height) == (17, 11)
        assert loaded.pil().mode == "RGB"

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_straight_alpha_is_kept_with_the_colours_under_it(self, kind: str) -> None:
        """Colours under alpha 0 survive, since the file holds them."""
        rgba = np.dstack([RGB, ALPHA])
        rgba[0, 0, 3] = 0
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        loaded = read_image(encoded(Image.fromarray(rgba), kind, **options))
        assert np.array_equal(loaded.rgba(), rgba)
        assert loaded.pil().mode == "RGBA"

    def test_an_alpha_that_is_opaque_everywhere_is_no_alpha(self) -> None:
        """Callers need not look at a plane of 255."""
        loaded = read_image(encoded(Image.fromarray(np.dstack([RGB, np.full((11, 17), 255, np.uint8)]))))
        assert loaded.alpha is None
        assert (loaded.rgba()[..., 3] == 255).all()

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_the_three_formats_are_read(self, kind: str) -> None:
        """A smooth picture comes back close to itself from lossy formats too."""
        smooth = np.dstack([np.tile(np.arange(0, 170, 10, dtype=np.uint8), (11, 1))] * 3)
        loaded = read_image(encoded(Image.fromarray(smooth), kind))
        assert np.abs(loaded.rgb.astype(int) - smooth).max() <= 6

    def test_grey_and_grey_with_alpha(self) -> None:
        """L and LA spread over three channels."""
        grey = RGB[..., 0]
        assert np.array_equal(read_image(encoded(Image.fromarray(grey))).rgb, np.dstack([grey] * 3))
        both = read_image(encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(ALPHA)])))
        assert np.array_equal(both.rgb, np.dstack([grey] * 3))
        assert np.array_equal(both.alpha, ALPHA)

    def test_bitmap(self) -> None:
        """One bit is black or white, not 0 or 1."""
        bits = RGB[..., 0] > 128
        loaded = read_image(encoded(Image.fromarray(bits)))
        assert np.array_equal(loaded.rgb[..., 1], np.where(bits, 255, 0))

    def test_palette_with_and_without_transparency(self) -> None:
        """A palette's colours and its transparent entry become RGB and alpha."""
        palette = Image.new("P", (2, 1))
        palette.putpalette([10, 20, 30, 200, 210, 220])
        palette.putpixel((1, 0), 1)
        plain = read_image(encoded(palette))
        assert plain.rgb.tolist() == [[[10, 20, 30], [200, 210, 220]]]
        assert plain.alpha is None
        clear = read_image(encoded(palette, transparency=1))
        assert clear.rgb.tolist() == plain.rgb.tolist()
        assert clear.alpha is not None
        assert clear.alpha.tolist() == [[255, 0]]
        graded = read_image(encoded(palette, transparency=bytes([7, 99])))
        assert graded.alpha is not None
        assert graded.alpha.tolist() == [[7, 99]]

    def test_transparent_colour_of_an_rgb_png(self) -> None:
        """The tRNS chunk names one colour that is clear."""
        loaded = read_image(encoded(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[2, 3])))
        assert loaded.alpha is not None
        assert loaded.alpha[2, 3] == 0
        assert (loaded.alpha == 0).sum() == np.equal(RGB, RGB[2, 3]).all(-1).sum()

    def test_sixteen_bit_grey_is_scaled_not_clipped(self) -> None:
        """65535 is white, and half of it half grey."""
        samples = np.array([[0, 128, 257, 32768, 65407, 65535]], np.uint16)
        loaded = read_image(encoded(Image.fromarray(samples)))
        assert loaded.rgb[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]

    def test_sixteen_bit_colour_is_scaled(self) -> None:
        """16-bit RGBA, written by hand because Pillow cannot, keeps its high byte."""
        row = b"\0" + struct.pack(">8H", 0, 32768, 65535, 40000, 1000, 2000, 3000, 65535)
        data = png_header(2, 1, 16, 6) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        loaded = read_image(data)
        expected = np.array([[0, 32768, 65535, 40000], [1000, 2000, 3000, 65535]]) / 257
        assert np.abs(loaded.rgba()[0].astype(float) - expected).max() <= 1

    def test_sixteen_bit_grey_with_a_clear_value(self) -> None:
        """tRNS of a 16-bit grey PNG names the full 16 bits."""
        row = b"\0" + struct.pack(">2H", 5000, 5001)
        data = png_header(2, 1, 16, 0) + chunk(b"tRNS", struct.pack(">H", 5001)) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        loaded = read_image(data)
        assert loaded.alpha is not None
        assert loaded.alpha.tolist() == [[255, 0]]

    def test_cmyk_jpeg(self) -> None:
        """Pure inks give the colours that a reader expects."""
        inks = Image.new("CMYK", (32, 16), (0, 255, 255, 0))
        assert read_image(encoded(inks, "JPEG")).rgb[8, 8].tolist() == pytest.approx([255, 0, 0], abs=12)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "RGBa", "La", "PA"])
    def test_images_already_open_in_any_mode(self, mode: str) -> None:
        """A PIL image given by a program is brought into the same form."""
        start = Image.fromarray(RGB)
        image = start.convert("LA").convert(mode) if mode == "La" else start.convert("RGBA").convert(mode)
        loaded = read_image(image)
        assert loaded.rgb.shape == RGB.shape
        assert loaded.rgb.dtype == np.uint8
        if mode in ("RGB", "RGBA", "RGBa"):
            assert np.array_equal(loaded.rgb, RGB)

    def test_a_float_image_has_no_defined_range(self) -> None:
        """Guessing whether 1.0 is white would be wrong half of the time."""
        with pytest.raises(BadInput, match="no defined range"):
            read_image(Image.new("F", (3, 3)))


class TestOrientation:
    """Cameras store pictures lying down and say so in EXIF."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_every_orientation_comes_out_upright(self, orientation: int, kind: str) -> None:
        """The stored picture is built by hand from the upright one for each of the eight values."""
        upright = np.dstack([RGB, ALPHA])
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: upright.transpose(1, 0, 2)[::-1, ::-1],
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
        assert np.array_equal(read_image(data).rgba(), upright)

    def test_a_broken_exif_block_does_not_cost_the_picture(self) -> None:
        """Damaged metadata is nobody's reason to lose the pixels."""
        data = encoded(Image.fromarray(RGB), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12")
        assert np.array_equal(read_image(data).rgb, RGB)


class TestNothingLeaks:
    """What a camera knew about its owner is not passed on."""

    def test_no_metadata_of_the_input_survives(self) -> None:
        """EXIF, comments, text, resolution and profile are gone from the loaded image and from the PNG made of it."""
        exif = Image.Exif()
        exif[0x010E] = "SECRET-EXIF"
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "SECRET-TEXT")
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        data = encoded(Image.fromarray(RGB), exif=exif, pnginfo=text, dpi=(300, 300), icc_profile=profile)
        assert b"SECRET-TEXT" in data
        loaded = read_image(data)
        assert loaded.pil().info == {}
        assert Image.open(io.BytesIO(png_bytes(loaded.pil()))).info == {"srgb": 1}
        opened = Image.open(io.BytesIO(data))
        opened.load()
        assert b"SECRET" not in png_bytes(opened)
        assert b"iCCP" not in png_bytes(opened)


class TestWriting:
    """`png_bytes` writes sRGB, text and pixels."""

    def test_text_comes_back(self) -> None:
        """iTXt holds any language; lone surrogates, which no file can hold, are replaced."""
        picture = Image.open(io.BytesIO(png_bytes(RGB, {"bfs": "赤い球 🔴 é", "odd": "a\ud800b"})))
        assert picture.info["bfs"] == "赤い球 🔴 é"
        assert picture.info["odd"] == "a?b"
        assert np.array_equal(np.asarray(picture), RGB)

    @pytest.mark.parametrize("pixels", [RGB, np.dstack([RGB, ALPHA]), ALPHA], ids=["rgb", "rgba", "grey"])
    def test_pixels_come_back_and_bytes_repeat(self, pixels: np.ndarray) -> None:
        """Lossless, and equal input gives equal bytes."""
        data = png_bytes(pixels)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
        assert data == png_bytes(Image.fromarray(pixels))


class TestNumbers:
    """uint8 and float."""

    def test_every_level_survives_the_way_to_float_and_back(self) -> None:
        """All 256 of them."""
        levels = np.arange(256, dtype=np.uint8)
        assert to_float(levels).dtype == np.float32
        assert np.array_equal(to_u8(to_float(levels)), levels)

    def test_rounding_and_clipping(self) -> None:
        """Nearest level; outside [0, 1] is clipped."""
        assert to_u8(np.array([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0])).tolist() == [0, 0, 0, 1, 255, 255]

    def test_nan_is_refused(self) -> None:
        """Quietly black would hide a broken model."""
        with pytest.raises(ValueError, match="NaN"):
            to_u8(np.array([0.5, np.nan]))

    def test_checkerboard_shows_through_where_the_layer_is_clear(self) -> None:
        """Opaque pixels stay, clear ones show two greys."""
        layer = np.zeros((16, 16, 4), np.uint8)
        layer[:4, :4] = [255, 0, 0, 255]
        shown = np.asarray(checkerboard(layer, cell=8))
        assert shown[0, 0].tolist() == [255, 0, 0]
        assert shown[7, 7].tolist() == [204] * 3
        assert shown[7, 8].tolist() == [153] * 3


def test_sources_are_interchangeable(tmp_path: Path) -> None:
    """Path, text, bytes, bytearray, stream and open image give the same pixels."""
    data = encoded(Image.fromarray(RGB))
    (tmp_path / "a.png").write_bytes(data)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data), io.BytesIO(data), Image.open(io.BytesIO(data))]
    assert all(np.array_equal(read_image(source).rgb, RGB) for source in sources)


def test_limits_are_what_the_documentation_says() -> None:
    """Four formats; photographs of current cameras and 8K squares pass."""
    assert images.FORMATS == ("PNG", "JPEG", "WEBP", "TIFF")
    assert 8192**2 <= images.MAX_PIXELS <= (Image.MAX_IMAGE_PIXELS or 0)


def test_a_photograph_is_written_smaller_with_the_same_pixels() -> None:
    """Runs alone are looked for; the same bytes every time."""
    rng = np.random.default_rng(0)
    soft = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((128, 128), Image.Resampling.BICUBIC))
    photograph = (soft.astype(int) + rng.integers(-2, 3, soft.shape)).clip(0, 255).astype(np.uint8)
    plain, small = png_bytes(photograph), png_bytes(photograph, is_photograph=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(small))), photograph)
    assert len(small) < len(plain) and small == png_bytes(photograph, is_photograph=True)
