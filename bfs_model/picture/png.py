"""PNG (W3C, third edition): the chunks that are the picture, its profile, and its clear colour in the file's own samples."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bfs_model.picture.planes import Planes, planes, scaled

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA = 0, 2, 3, 4
# As much as a JPEG can hold; profiles of printers have a few MiB.
MAX_PROFILE = 16 * 2**20
_MAX_TEXT = 2**20
_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
# Older programs write EXIF, which may say which side is up, as text.
_EXIF_TEXT, _XMP = b"Raw profile type exif\0", b"XML:com.adobe.xmp\0\0\0"


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file without what is not its picture: Pillow refuses a file for a comment that it finds too long.

    `depth` is the number of bits per sample and `kind` the colour type of the header; `clear` the tRNS chunk; `profile` the ICC
    profile, empty where it could not be unpacked.
    """

    data: bytes
    depth: int
    kind: int
    clear: bytes | None
    profile: bytes | None


def strip(data: bytes, keyword: str = "") -> Png:
    """The picture in a PNG file, with the iTXt of `keyword` if one is named. Damage is left for the decoder to find."""
    kept, depth, kind = [SIGNATURE], 8, COLOUR
    clear = profile = None
    for name, whole in _chunks(data):
        content = whole[8:-4]
        if name == b"IHDR" and len(content) >= 10:
            depth, kind = content[8], content[9]
        elif name == b"tRNS":
            clear = bytes(content)
        elif name == b"iCCP":
            profile = _unpacked(bytes(content).partition(b"\0")[2][1:], MAX_PROFILE) if _is_intact(whole) else b""
        wanted = bool(keyword) and name == b"iTXt" and bytes(content[: len(keyword) + 1]) == keyword.encode() + b"\0"
        if wanted or name in _CHUNKS or not name or (_may_say_orientation(name, bytes(content)) and _is_intact(whole)):
            kept.append(bytes(whole))
    return Png(b"".join(kept), depth, kind, clear, profile)


def annotated(data: bytes, text: Mapping[str, str]) -> bytes:
    """A PNG file with `text` as iTXt behind its header; the picture's own bytes stay as they are."""
    end = len(SIGNATURE) + 25  # the header comes first and has one length
    chunks = [b"".join((key.encode("latin-1"), bytes(5), value.encode("utf-8", "replace"))) for key, value in text.items()]
    packed = [struct.pack(">I", len(content)) + _checked(b"iTXt" + content) for content in chunks]
    return b"".join((data[:end], *packed, data[end:]))


def _checked(named: bytes) -> bytes:
    """A chunk's name and content with their checksum."""
    return named + zlib.crc32(named).to_bytes(4, "big")


def planes_of(image: Image.Image, png: Png) -> Planes:
    """Colour and alpha of a decoded PNG, as `planes` gives them. `image` was opened from `png.data` and loaded."""
    if png.kind == PALETTE:
        return planes(image)
    image.info.pop("transparency", None)
    if png.kind == GREY_ALPHA and png.depth == 16:  # Pillow opens it as RGBA
        return image.getchannel("R"), image.getchannel("A")
    colour, alpha = (scaled(np.asarray(image), 65535), None) if image.mode.startswith("I;16") else planes(image)
    if png.clear is None or png.kind not in (GREY, COLOUR):
        return colour, alpha
    return colour, Image.fromarray(np.where(_is_clear(image, colour, png), 0, 255).astype(np.uint8))


def _is_clear(image: Image.Image, colour: Image.Image, png: Png) -> np.ndarray:
    """Where [H, W] a picture without alpha shows its clear colour: samples are compared in all their bits."""
    assert png.clear is not None
    white = 2**png.depth - 1
    wanted = [value & white for value in struct.unpack_from(">H" if png.kind == GREY else ">3H", png.clear)]
    if png.kind == GREY:
        samples = np.asarray(image) if png.depth == 16 else np.asarray(colour)
        return samples == (wanted[0] if png.depth == 16 else wanted[0] * 255 // white)
    pixels = np.asarray(colour)
    if png.depth == 8:
        return (pixels == np.array(wanted, np.uint8)).all(axis=-1)
    high, low = (np.array([value >> shift & 255 for value in wanted], np.uint8) for shift in (8, 0))
    return (pixels == high).all(axis=-1) & (_low_bytes(png.data) == low).all(axis=-1)


def _low_bytes(data: bytes) -> np.ndarray:
    """The low bytes [H, W, 3] of a 16-bit RGB PNG, of which Pillow gives the high ones: read as if the order were the other."""
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    return np.asarray(image)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and whole of each chunk; without a name whatever is left where the structure ends too early."""
    view, position = memoryview(data), len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not name.isalpha():
            break
        yield name, view[position:end]
        position = end
    if position < len(data):
        yield b"", view[position:]


def _may_say_orientation(name: bytes, content: bytes) -> bool:
    if name == b"zTXt" and content.startswith(_EXIF_TEXT):
        return bool(_unpacked(content[len(_EXIF_TEXT) + 1 :], _MAX_TEXT))
    short = len(content) <= _MAX_TEXT
    return name == b"eXIf" or (short and ((name == b"tEXt" and content.startswith(_EXIF_TEXT)) or _is_plain_xmp(name, content)))


def _is_plain_xmp(name: bytes, content: bytes) -> bool:
    return name == b"iTXt" and content.startswith(_XMP)


def _is_intact(whole: memoryview) -> bool:
    return len(whole) >= 12 and zlib.crc32(whole[4:-4]).to_bytes(4, "big") == whole[-4:]


def _unpacked(packed: bytes, most: int) -> bytes:
    """A zlib stream unpacked; empty when it is damaged or holds more than `most` bytes."""
    engine = zlib.decompressobj()
    try:
        out = engine.decompress(packed, most)
    except zlib.error:
        return b""
    return out if engine.eof else b""
