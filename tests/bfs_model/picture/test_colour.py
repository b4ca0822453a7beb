"""Profiles are converted, not ignored; sRGB pixels stay as they are."""

import io
import logging
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from bfs_model.picture.colour import srgb_profile, to_srgb
from bfs_model.picture.images import read_image

# Adobe RGB (1998) and sRGB primaries, adapted to D50: columns are X, Y, Z of red, green, blue.
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_GAMMA = 563 / 256


def matrix_profile(primaries: np.ndarray, gamma: float, space: bytes = b"RGB ") -> bytes:
    """A minimal ICC version 2 display profile, by ICC.1:2001-04: one gamma, and primaries or, for grey, none."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(number(float(v)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    described = b"test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(described)) + described + bytes(78),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249])),
    }
    if space == b"RGB ":
        tags |= {name: xyz(primaries[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    else:
        tags[b"kTRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ", bytes(12), b"acsp")
    header += bytes(68 - len(header)) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def srgb_curve(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def png(pixels: np.ndarray, profile: bytes | None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", icc_profile=profile)
    return out.getvalue()


def test_adobe_rgb_becomes_srgb_by_hand() -> None:
    """The conversion equals the two matrices and two curves computed here, within two levels; ignoring it would cost dozens."""
    pixels = np.random.default_rng(3).integers(60, 190, (20, 20, 3), dtype=np.uint8)
    linear = (pixels / 255) ** ADOBE_GAMMA
    expected = srgb_curve(linear @ (np.linalg.inv(SRGB) @ ADOBE).T) * 255
    found = read_image(png(pixels, matrix_profile(ADOBE, ADOBE_GAMMA))).rgb
    inside = ((expected > 0.5) & (expected < 254.5)).all(-1)
    assert inside.mean() > 0.7
    assert np.abs(found[inside] - expected[inside]).max() <= 2
    assert np.abs(pixels.astype(int) - found).mean() > 5


def test_alpha_is_not_converted() -> None:
    """A profile speaks of colours only."""
    pixels = np.random.default_rng(3).integers(60, 190, (9, 9, 4), dtype=np.uint8)
    loaded = read_image(png(pixels, matrix_profile(ADOBE, ADOBE_GAMMA)))
    assert np.array_equal(loaded.alpha, pixels[..., 3])
    assert np.array_equal(loaded.rgb, read_image(png(pixels[..., :3].copy(), matrix_profile(ADOBE, ADOBE_GAMMA))).rgb)


@pytest.mark.parametrize("profile", [srgb_profile(), None], ids=["srgb", "none"])
def test_srgb_pixels_are_untouched(profile: bytes | None) -> None:
    """The background of somebody's document must stay bit-identical."""
    pixels = np.random.default_rng(4).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    assert np.array_equal(read_image(png(pixels, profile)).rgb, pixels)


def test_grey_profile_on_a_grey_image() -> None:
    """A linear grey of one half is light in sRGB."""
    loaded = read_image(png(np.full((4, 4), 128, np.uint8), matrix_profile(ADOBE, 1.0, b"GRAY")))
    assert loaded.rgb[0, 0].tolist() == pytest.approx([188] * 3, abs=1)


def test_rgb_profile_on_a_grey_image() -> None:
    """Cameras write grey pictures with RGB profiles; the profile still counts."""
    loaded = read_image(png(np.full((4, 4), 128, np.uint8), matrix_profile(SRGB, 1.0)))
    assert loaded.rgb[0, 0].tolist() == pytest.approx([188] * 3, abs=1)


@pytest.mark.parametrize(
    "profile", [b"no profile", matrix_profile(ADOBE, 1.0, b"GRAY"), srgb_profile()[:300]], ids=["junk", "other kind", "cut"]
)
def test_a_profile_that_cannot_apply_is_ignored_aloud(profile: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Browsers show the picture as sRGB, so do we, with a warning in the log."""
    image = Image.fromarray(np.arange(27, dtype=np.uint8).reshape(3, 3, 3))
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(np.asarray(to_srgb(image, profile)), np.asarray(image))
    assert "ICC profile ignored" in caplog.text


def test_our_profile_is_srgb_and_always_the_same_bytes() -> None:
    """Its creation date is fixed; littlecms reads it as sRGB."""
    profile = srgb_profile()
    fresh = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile[:24] + profile[36:] == fresh[:24] + fresh[36:]
    assert struct.unpack(">6H", profile[24:36]) == (2000, 1, 1, 0, 0, 0)
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
