"""TIFF (revision 6.0, and BigTIFF): which directory is the picture, and what its samples mean.

Pillow tells kinds of samples apart by what they are stored in; here the tags decide: how many bits a sample has, whether it is
a whole number without sign, and which end is white. What that leaves open is refused with its reason, not guessed.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImagePalette

from bfs_model.picture.planes import NoMeaning, Planes, planes, scaled

# Tags, by their numbers in the specification.
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
NUM_SAMPLES, COUNTS, PLANAR, COLOUR_MAP, INK_SET, EXTRA, FORMAT, RANGE = 277, 279, 284, 320, 332, 338, 339, 532
WHITE_IS_ZERO, RGB, CMYK, YCBCR = 0, 2, 5, 6
UNCOMPRESSED, OLD_JPEG, JPEG = 1, 6, 7
APART = 2  # PlanarConfiguration: one plane after the other
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex floating-point"}
_PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
# A tag's type → its code for `struct`; texts and undefined bytes are of no interest here.
_TYPES = {1: "B", 3: "H", 4: "L", 5: "2L", 6: "b", 8: "h", 9: "l", 10: "2l", 11: "f", 12: "d", 16: "Q", 17: "q", 18: "Q"}
_READ = frozenset(
    {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, NUM_SAMPLES, COUNTS, PLANAR, INK_SET, EXTRA, FORMAT, RANGE}
)
# A few bytes can announce directories without end, each of them with as many entries.
_MAX_ENTRIES = 100_000
_MAX_VALUES, _MAX_ALL_VALUES = 2**16, 2**20  # of one tag; of all tags, which may share the bytes that they point to

Number = int | float
Tags = Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Directory:
    """One picture of a file: where its directory begins, and the numbers in it by tag."""

    offset: int
    tags: dict[int, tuple[Number, ...]]

    @property
    def is_preview(self) -> bool:
        """Whether it is a smaller copy of another picture of the file, or says where another one is transparent."""
        kind = int(first(self.tags, SUBFILE, 0))
        return bool(kind & (_REDUCED | _MASK)) or first(self.tags, OLD_SUBFILE, 1) == 2


def is_tiff(data: bytes) -> bool:
    """By its first bytes."""
    return data.startswith(_PREFIXES)


def single(data: bytes) -> bytes:
    """`data` as a file that begins with its one full picture: previews and masks are passed over.

    Raises `NoMeaning` when there are several, or when the samples have no one meaning.
    """
    found = _directories(data)
    full = [directory for directory in found if not directory.is_preview] or found[:1]
    if len(full) > 1:
        raise NoMeaning("holds more than one frame", "give one still picture")
    if not full:
        return data
    check(full[0].tags)
    if full[0] is found[0]:
        return data
    order, big = _header(data)
    link = struct.pack(f"{order}Q", full[0].offset) if big else struct.pack(f"{order}L", full[0].offset)
    start = 8 if big else 4
    return data[:start] + link + data[start + len(link) :]


def check(tags: Tags) -> None:
    """Raise `NoMeaning` for samples that have no one meaning, and for those that Pillow would misread."""
    kinds = {kind for kind in numbers(tags, FORMAT, (1,)) if kind in _FORMATS}
    bits = numbers(tags, BITS, (1,))
    if kinds:
        raise NoMeaning(f"holds {_FORMATS[int(kinds.pop())]} samples, whose range is not known")
    if max(bits) > 16:
        raise NoMeaning(f"holds samples of {max(bits):g} bits, whose range is not known")
    kind, apart = first(tags, PHOTOMETRIC, 0), first(tags, PLANAR, 1) == APART
    if kind == CMYK and first(tags, INK_SET, 1) != 1:
        raise NoMeaning("is printed in other inks than cyan, magenta, yellow and black")
    if kind <= 1 and apart and first(tags, NUM_SAMPLES, 1) > 1 and any(numbers(tags, EXTRA, ())):
        raise NoMeaning("holds grey and alpha in planes apart, which cannot be read")
    if kind in (RGB, YCBCR) and first(tags, COMPRESSION, 1) not in (OLD_JPEG, JPEG):
        white = 2 ** max(bits) - 1
        full = ((0, white) * 3, (0, white, (white + 1) // 2, white, (white + 1) // 2, white))
        if numbers(tags, RANGE, full[0]) not in full:
            raise NoMeaning("holds samples of a range of its own (ReferenceBlackWhite)")
    num_bytes = 3 * first(tags, WIDTH, 0) * first(tags, HEIGHT, 0)
    if kind == YCBCR and first(tags, COMPRESSION, 1) == UNCOMPRESSED and sum(numbers(tags, COUNTS, (0,))) < num_bytes:
        raise NoMeaning("holds uncompressed YCbCr with fewer samples of colour than of brightness, which cannot be read")


def prepare(image: Image.Image) -> None:
    """Mend what Pillow makes of an opened file before it is loaded: 16-bit planes apart, colour maps of 8 bits."""
    tags: Tags = image.tag_v2  # type: ignore[attr-defined]
    if first(tags, PLANAR, 1) == APART and max(numbers(tags, BITS, (1,))) == 16 and image.mode in ("RGB", "RGBA", "CMYK"):
        order = "L" if tags.prefix == b"II" else "B"  # type: ignore[attr-defined]
        image.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) if len(tile.args[0]) == 1 else tile
            for tile in image.tile  # type: ignore[attr-defined]
        ]
    colours = numbers(tags, COLOUR_MAP, ())
    if image.mode in ("P", "PA") and colours and max(colours) < 256:  # some writers do not widen them; so does libtiff know them
        image.palette = ImagePalette.raw("RGB;L", bytes(int(value) for value in colours))


def planes_of(image: Image.Image) -> Planes:
    """Colour and alpha of a loaded TIFF, as `planes` gives them. Raises `NoMeaning`."""
    tags: Tags = image.tag_v2  # type: ignore[attr-defined]
    check(tags)
    if not image.mode.startswith("I;16"):
        return planes(image)
    grey = scaled(np.asarray(image), 2 ** int(max(numbers(tags, BITS, (16,)))) - 1)
    # Of 16 bits Pillow gives the samples as they are; of fewer it has turned them over.
    return ImageOps.invert(grey) if first(tags, PHOTOMETRIC, 1) == WHITE_IS_ZERO else grey, None


def unknown(data: bytes) -> NoMeaning:
    """What a TIFF holds that could not be opened."""
    found = _directories(data)
    tags = found[0].tags if found else {}
    bits = "+".join(f"{value:g}" for value in numbers(tags, BITS, (1,))[:8])
    kind, packed = first(tags, PHOTOMETRIC, 0), first(tags, COMPRESSION, 1)
    return NoMeaning(f"is a TIFF of a kind that is not known (photometric interpretation {kind:g}, {bits} bits, compression {packed:g})")


def numbers(tags: Tags, tag: int, default: Sequence[Number]) -> tuple[Number, ...]:
    """The values of a tag; `default` where it is absent or holds no numbers."""
    value = tags.get(tag)
    values = value if isinstance(value, tuple) else (value,)
    return values if values and all(isinstance(number, int | float) for number in values) else tuple(default)


def first(tags: Tags, tag: int, default: Number) -> Number:
    """The first value of a tag."""
    return numbers(tags, tag, (default,))[0]


def _header(data: bytes) -> tuple[str, bool]:
    """Byte order for `struct`, and whether offsets have 64 bits."""
    return ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]


def _directories(data: bytes) -> list[Directory]:
    """The chain of directories as far as it can be followed: damage is left for the decoder to find."""
    order, big = _header(data)
    found: list[Directory] = []
    seen: set[int] = set()
    num_entries = num_values = 0
    try:
        (offset,) = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, 8 if big else 4)
        while offset and offset not in seen and num_entries < _MAX_ENTRIES and num_values < _MAX_ALL_VALUES:
            seen.add(offset)
            directory, offset, num = _directory(data, offset, order, big)
            found.append(directory)
            num_entries += num + 1
            num_values += sum(map(len, directory.tags.values()))
    except struct.error:
        pass
    return found


def _directory(data: bytes, offset: int, order: str, big: bool) -> tuple[Directory, int, int]:
    """The directory at `offset`, where the next one is, and how many entries it has. Raises `struct.error` beyond the end."""
    count_code, entry_code, link_code = ("Q", "HHQ", "Q") if big else ("H", "HHL", "L")
    (count,) = struct.unpack_from(order + count_code, data, offset)
    position = offset + struct.calcsize(order + count_code)
    inline = struct.calcsize(order + link_code)
    tags: dict[int, tuple[Number, ...]] = {}
    for _ in range(min(count, 2**16)):
        tag, kind, num = struct.unpack_from(order + entry_code, data, position)
        position += struct.calcsize(order + entry_code)
        if tag in _READ and tag not in tags and kind in _TYPES and num <= _MAX_VALUES:
            tags[tag] = _values(data, position, order, kind, num, inline, link_code)
        position += inline
    (link,) = struct.unpack_from(order + link_code, data, position)
    return Directory(offset, tags), link, count


def _values(data: bytes, position: int, order: str, kind: int, num: int, inline: int, link_code: str) -> tuple[Number, ...]:
    code = _TYPES[kind]
    rational = code.startswith("2")
    layout = f"{order}{num * (2 if rational else 1)}{code[-1]}"
    if struct.calcsize(layout) > inline:
        (position,) = struct.unpack_from(order + link_code, data, position)
    values = struct.unpack_from(layout, data, position)
    return tuple(a / b if b else 0.0 for a, b in zip(values[::2], values[1::2], strict=True)) if rational else values
