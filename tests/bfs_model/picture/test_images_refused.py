"""Hostile, broken and foreign pictures are refused in one line, before they cost anything."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from bfs_model.errors import BadInput
from bfs_model.picture.images import read_image

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_header(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))


def refusal(source: object, **options: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_image(source, key="background", **options)  # type: ignore[arg-type]
    assert caught.value.key == "background"
    assert caught.value.rule
    assert "\n" not in str(caught.value)
    return caught.value


def test_missing_file_folder_and_device(tmp_path: Path) -> None:
    """Nothing but a regular file is opened: /dev/zero never ends."""
    assert "does not exist" in str(refusal(tmp_path / "none.png"))
    assert "is not a file" in str(refusal(str(tmp_path)))
    assert "is not a file" in str(refusal("/dev/zero"))
    assert "image" in str(refusal("a\0b.png"))
    refusal("x" * 5000)


def test_nothing_at_all(tmp_path: Path) -> None:
    """Zero bytes say so."""
    (tmp_path / "empty.png").touch()
    assert "is empty" in str(refusal(tmp_path / "empty.png"))
    assert "is empty" in str(refusal(b""))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "ICO", "PPM", "TGA", "PSD"])
def test_other_formats(kind: str) -> None:
    """Only three decoders may see foreign bytes, whatever Pillow could read."""
    data = b"8BPS\0\1" + bytes(60) if kind == "PSD" else encoded(Image.fromarray(RGB), kind)
    assert "is not a PNG, JPEG, WebP or TIFF picture" in str(refusal(data))


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    """A PNG called .jpg is read, a GIF called .png is not."""
    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(RGB)))
    (tmp_path / "b.png").write_bytes(encoded(Image.fromarray(RGB), "GIF"))
    assert np.array_equal(read_image(tmp_path / "a.jpg").rgb, RGB)
    refusal(tmp_path / "b.png")


@pytest.mark.parametrize("side", [8_200, 10_000, 13_000, 60_000, 2**31 - 1])
def test_a_tiny_file_that_declares_a_huge_picture(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is judged from the header; the decoder never runs."""
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    bomb = png_header(side, side) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert "more than" in str(refusal(bomb))


def test_the_limit_is_the_callers() -> None:
    """187 pixels pass a limit of 187 and fail one of 186."""
    data = encoded(Image.fromarray(RGB))
    assert read_image(data, max_pixels=187).width == 17
    assert "17x11 pixels, more than 186" in str(refusal(data, max_pixels=186))
    assert "more than 10" in str(refusal(Image.fromarray(RGB), max_pixels=10))


def test_a_file_larger_than_the_limit(tmp_path: Path) -> None:
    """Bytes are counted before they are read, and streams are read no further than the limit."""
    data = encoded(Image.fromarray(RGB))
    (tmp_path / "a.png").write_bytes(data)
    for source in (tmp_path / "a.png", data, io.BytesIO(data)):
        assert "is larger than" in str(refusal(source, max_bytes=100))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    """Half a picture is not shown as a whole one."""
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    assert "cannot be decoded" in str(refusal(data[: int(len(data) * share)]))


def test_a_flipped_bit_in_a_png() -> None:
    """The checksum of a chunk is verified."""
    data = bytearray(encoded(Image.fromarray(RGB)))
    data[data.index(b"IDAT") + 40] ^= 1
    assert "cannot be decoded" in str(refusal(bytes(data)))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations(kind: str) -> None:
    """Which frame was meant cannot be known."""
    data = encoded(Image.fromarray(RGB), kind, save_all=True, append_images=[Image.fromarray(RGB[::-1].copy())])
    assert "more than one frame" in str(refusal(data))


def test_a_photograph_with_a_preview_is_its_photograph() -> None:
    """Cameras and phones attach previews and gain maps (MPO); every viewer shows the first picture, and so do we."""
    first, second = Image.new("RGB", (32, 32), (200, 30, 40)), Image.new("RGB", (16, 16), (0, 255, 0))
    loaded = read_image(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert loaded.rgb[16, 16].tolist() == pytest.approx([200, 30, 40], abs=4)
    assert loaded.width == 32


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # it warns of what it goes on to read or refuse
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_damage_anywhere_is_read_or_refused_but_never_a_crash(kind: str) -> None:
    """Some hundred seeded mutations: bytes changed, cut out, repeated."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    start = encoded(Image.fromarray(RGB), kind, icc_profile=profile, exif=exif)
    outcomes = set()
    for seed in range(250):
        rng = np.random.default_rng([1, seed])
        data = bytearray(start)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(0, len(data)))
            if rng.random() < 0.7:
                data[at] = int(rng.integers(0, 256))
            elif rng.random() < 0.5:
                del data[at : at + int(rng.integers(1, 30))]
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 30))]
        try:
            outcomes.add(read_image(bytes(data), max_pixels=100_000).rgb.ndim)
        except BadInput:
            outcomes.add("refused")
    assert outcomes == {3, "refused"}
