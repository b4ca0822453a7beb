"""Images at the border: read from anybody, safely; written without anything that the input carried along.

Inside, an image is sRGB, uint8 [H, W, 3], upright, with a separate alpha uint8 [H, W] when it has one.
"""

import io
import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from bfs_model.errors import BadInput
from bfs_model.picture import colour, jpeg, png, tiff
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.planes import NoMeaning, Planes, planes, scaled
from bfs_model.shapes import Given

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 256 * 2**20
_RUNS = {"compress_type": 3}  # Z_RLE of zlib.h

Source = Path | str | bytes | bytearray | BufferedIOBase | BinaryIO | Image.Image

_CURE = "give one still picture as PNG, JPEG, WebP or TIFF"
# What a file of each format begins with.
_SIGNATURES = {png.SIGNATURE: "PNG", jpeg.SIGNATURE: "JPEG", b"RIFF": "WebP"}
_SLACK = 1e-3  # of floats beyond [0, 1]: what resampling leaves
_OPEN = threading.Lock()  # warnings.catch_warnings changes process-wide state
# EXIF orientation -> what makes the picture upright (EXIF 2.32, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An upright sRGB picture: `rgb` uint8 [H, W, 3], `alpha` uint8 [H, W], or None when every pixel is opaque."""

    rgb: np.ndarray
    alpha: np.ndarray | None

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    def rgba(self) -> np.ndarray:
        """uint8 [H, W, 4], straight alpha."""
        alpha = np.full(self.rgb.shape[:2], 255, np.uint8) if self.alpha is None else self.alpha
        return np.dstack([self.rgb, alpha])

    def over_white(self) -> np.ndarray:
        """uint8 [H, W, 3]: the picture on white paper; opaque pixels unchanged."""
        if self.alpha is None:
            return self.rgb
        alpha = self.alpha[..., None].astype(np.uint32)
        return ((self.rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def pil(self) -> Image.Image:
        """A fresh PIL image, RGB or RGBA, without metadata."""
        return Image.fromarray(self.rgb if self.alpha is None else self.rgba())


def read_image(source: Given[Source], *, key: str = "image", max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> LoadedImage:
    """Read one still picture from a path, bytes, a binary stream or a PIL image.

    The content decides the format, not the suffix: PNG, JPEG, WebP or TIFF. The size is checked before anything is decoded.
    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB, 16-bit samples are scaled to 8 bits;
    palettes, grey, CMYK, CIELAB, bitmaps and transparent colours become RGB and alpha. No metadata survives, and none that is
    damaged or long costs the picture. Of a photograph with attached previews or a gain map (MPO, Ultra HDR), and of a TIFF
    with smaller copies of itself, the picture itself is read.

    Raises `BadInput` with `key` when the source is missing, too big, animated, damaged, in another format, or holds samples
    whose range nothing states: floats, 32-bit numbers, and 12 or 16 bits in an image that is not of a file.
    """
    if isinstance(source, Image.Image):
        opened, shown = _of_image(source, key, max_bytes), f"<{source.mode} image of {source.width}x{source.height}>"
    else:
        data, shown = _read_bytes(source, key, max_bytes)
        opened = _open(data, key, shown)
    image = opened.image
    if image.width * image.height > max_pixels:
        rule = f"has {image.width}x{image.height} pixels, more than {max_pixels:,}"
        raise BadInput(key, shown, rule, "scale it down")
    if image.width * image.height == 0:
        raise BadInput(key, shown, "has no pixels", _CURE)
    if image.format not in ("MPO", "TIFF") and getattr(image, "n_frames", 1) != 1:
        raise BadInput(key, shown, "holds more than one frame", _CURE)
    try:
        image.load()
        plane, alpha = opened.planes()
        plane = colour.to_srgb(plane, opened.profile)
        upright = _UPRIGHT.get(_orientation(image))
        if upright is not None:
            plane = plane.transpose(upright)
            alpha = None if alpha is None else alpha.transpose(upright)
    except NoMeaning as unclear:
        raise BadInput(key, shown, unclear.rule, unclear.remedy) from None
    except Exception as error:  # decoders raise anything on hostile bytes: OSError, SyntaxError, zlib.error, struct.error …
        raise BadInput(key, shown, f"cannot be decoded ({_one_line(error)})", "save it again in an image editor") from None
    transparency = None if alpha is None else np.asarray(alpha)
    if transparency is not None and (transparency == 255).all():
        transparency = None
    return LoadedImage(np.array(plane), None if transparency is None else transparency.copy())


def checked_array(array: np.ndarray, *, key: str = "image") -> np.ndarray:
    """A picture that came as an array: [H, W, 3 or 4], uint8, or float32 in [0, 1]. Grey, [H, W] or [H, W, 1], becomes RGB.

    Raises `BadInput` with `key` for other shapes and numbers: 16-bit samples, or floats up to 255, have no one meaning.
    """
    shown = f"<{array.dtype} array of shape {list(array.shape)}>"
    cure = "give uint8, or floats from 0 to 1, of shape [height, width, 3 or 4]"
    planes = array[..., None] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[2] not in (1, 3, 4) or planes.size == 0:
        raise BadInput(key, shown, "has not the shape of a picture", cure)
    if planes.dtype != np.uint8:
        if not np.issubdtype(planes.dtype, np.floating):
            raise BadInput(key, shown, "is of a kind whose range is not known", cure)
        if not (planes.min() >= -_SLACK and planes.max() <= 1 + _SLACK):  # false for NaN as well
            raise BadInput(key, shown, "holds numbers outside 0 to 1", cure)
        planes = np.clip(planes.astype(np.float32), 0, 1)
    return np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else planes


def to_float(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 image [H, W, …] -> float32 in [0, 1]. A float array is returned as float32, unscaled."""
    array = np.asarray(image)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    assert np.issubdtype(array.dtype, np.floating), f"expected uint8 or float, got {array.dtype}"
    return array.astype(np.float32)


def to_u8(image: np.ndarray) -> np.ndarray:
    """float image in [0, 1] -> uint8, rounded to the nearest level; values outside are clipped, non-finite ones refused."""
    if image.dtype == np.uint8:
        return image
    if not np.isfinite(image).all():
        raise ValueError("the image holds NaN or infinite values")
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def checkerboard(foreground: Image.Image | np.ndarray, cell: int = 8) -> Image.Image:
    """Show an RGBA layer as people expect to see transparency: over grey squares of `cell` pixels. Returns RGB."""
    layer = np.asarray(foreground)
    rows, columns = np.indices(layer.shape[:2]) // cell
    grey = np.where((rows + columns) % 2 == 0, 204, 153).astype(np.uint8)
    return Image.fromarray(composite_u8(layer, np.dstack([grey] * 3)))


def png_bytes(image: Image.Image | np.ndarray, text: Mapping[str, str] | None = None, is_photograph: bool = False) -> bytes:
    """PNG of an L, RGB or RGBA uint8 image with the sRGB chunk and `text` as iTXt; nothing else of `image` is written.

    Equal pixels and equal text give equal bytes. `is_photograph`: repeats are looked for along runs alone, which photographs have none
    beside: 13 % smaller in half of the time (zlib's Z_RLE).
    """
    pixels = np.asarray(image)
    assert pixels.dtype == np.uint8, f"expected uint8, got {pixels.dtype}"
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\x01")  # intent: relative colorimetric
    for keyword, value in (text or {}).items():
        info.add_itxt(keyword, value.encode("utf-8", "replace").decode("utf-8"))
    out = io.BytesIO()
    # Built from the array: plain `Image.save` copies the ICC profile and more out of `image.info`.
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", pnginfo=info, compress_level=3, **_RUNS if is_photograph else {})
    return out.getvalue()


def _read_bytes(source: Given[Path | str | bytes | bytearray | BufferedIOBase | BinaryIO], key: str, max_bytes: int) -> tuple[bytes, str]:
    """The bytes and how to name them in an error."""
    too_big = f"is larger than {max_bytes / 2**20:g} MiB"
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            path = path.expanduser()
            if not path.is_file():  # also keeps devices and pipes out, which never end
                raise BadInput(key, path, "is not a file" if path.exists() else "does not exist", "give the path of an image")
            if path.stat().st_size > max_bytes:
                raise BadInput(key, path, too_big, "scale the picture down")
            return path.read_bytes(), str(path)
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL byte in the path; RuntimeError: ~ of nobody
            if isinstance(error, BadInput):
                raise
            raise BadInput(key, path, f"cannot be read ({_one_line(error)})", "give the path of an image") from None
    if not isinstance(source, bytes | bytearray) and not hasattr(source, "read"):
        raise BadInput(key, f"<{type(source).__name__}>", "is not a picture", "give a path, bytes, a stream, a PIL image or an array")
    data = bytes(source) if isinstance(source, bytes | bytearray) else source.read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise BadInput(key, f"<{type(source).__name__}>", "is not a binary stream", "open the file with mode rb")
    if len(data) > max_bytes:
        raise BadInput(key, f"<{len(data)} bytes>", too_big, "scale the picture down")
    return data, f"<{len(data)} bytes>"


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image whose header was read, and of a PNG what its file says beyond Pillow."""

    image: Image.Image
    chunks: png.Png | None = None

    @property
    def profile(self) -> bytes | None:
        return self.chunks.profile if self.chunks else self.image.info.get("icc_profile")

    def planes(self) -> Planes:
        if self.chunks:
            return png.planes_of(self.image, self.chunks)
        if hasattr(self.image, "tag_v2"):
            return tiff.planes_of(self.image)
        if self.image.mode.startswith("I;16") and self.image.format == "PNG":
            return scaled(np.asarray(self.image), 65535), None
        return planes(self.image)


def _of_image(image: Image.Image, key: str, max_bytes: int) -> _Opened:
    """A PIL image. One that is still in its file is read anew: what Pillow made of the file's header is not all of it."""
    file = getattr(image, "fp", None)
    in_file = isinstance(image, ImageFile.ImageFile) and image.format in ("PNG", "TIFF") and image.tile
    if not in_file or file is None or file.closed:
        return _Opened(image)
    file.seek(0)
    return _open(*_read_bytes(file, key, max_bytes)[:1], key, f"<{image.mode} image of {image.width}x{image.height}>")


def _open(data: bytes, key: str, shown: str) -> _Opened:
    """Read the header only."""
    if not data:
        raise BadInput(key, shown, "is empty", _CURE)
    chunks = png.strip(data) if data.startswith(png.SIGNATURE) else None
    try:
        if chunks:
            data = chunks.data
        elif data.startswith(jpeg.SIGNATURE):
            data = jpeg.strip(data)
        elif tiff.is_tiff(data):
            data = tiff.single(data)
        with _OPEN, warnings.catch_warnings():
            # Pillow's own limit warns; ours, checked right after, refuses.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if tiff.is_tiff(data):
                tiff.prepare(image)
            return _Opened(image, chunks)
    except Image.UnidentifiedImageError:
        raise BadInput(key, shown, *_unidentified(data)) from None
    except NoMeaning as unclear:
        raise BadInput(key, shown, unclear.rule, unclear.remedy) from None
    except Image.DecompressionBombError:
        raise BadInput(key, shown, f"has far more than {Image.MAX_IMAGE_PIXELS:,} pixels", "scale it down") from None
    except Exception as error:  # see read_image
        raise BadInput(key, shown, f"cannot be decoded ({_one_line(error)})", "save it again in an image editor") from None


def _unidentified(data: bytes) -> tuple[str, str]:
    """Why bytes could not be opened, and what to do: Pillow says of all that they are no picture."""
    if tiff.is_tiff(data):
        unknown = tiff.unknown(data)
        return unknown.rule, unknown.remedy
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return f"begins as a {name} picture, but cannot be decoded", "save it again in an image editor, with 8 bits per channel"
    return "is not a PNG, JPEG, WebP or TIFF picture", _CURE


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the picture, which is fine
        return 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
