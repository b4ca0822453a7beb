"""PNG, JPEG and TIFF files written by hand, byte by byte: what Pillow cannot write, or would never."""

import struct
import zlib
from collections.abc import Mapping, Sequence

BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5
_CODES = {BYTE: "B", SHORT: "H", LONG: "L", RATIONAL: "LL"}
Tag = tuple[int, int | bytes | Sequence[int]]
Directory = tuple[list[bytes], Mapping[int, Tag]]


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_file(width: int, depth: int, kind: int, row: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of one row, with chunks before and after its pixels. `kind` is the colour type."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", zlib.compress(b"\0" + row)) + after + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    """One segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def tags(width: int, bits: int | Sequence[int], photometric: int, **more: Tag) -> dict[int, Tag]:
    """The tags of a TIFF of one row; others by number, `t338=(SHORT, 1)`."""
    num = 1 if isinstance(bits, int) else len(bits)
    known: dict[int, Tag] = {256: (LONG, width), 257: (LONG, 1), 258: (SHORT, bits), 259: (SHORT, 1), 262: (SHORT, photometric)}
    return known | {277: (SHORT, num), 278: (LONG, 1)} | {int(name[1:]): tag for name, tag in more.items()}


def tiff_file(*directories: Directory, order: str = "<") -> bytes:
    """A TIFF of directories, each with the bytes of its strips (or planes) and its tags. `order` as in `struct`."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, 0))
    link = 4
    for strips, known in directories:
        offsets = [_append(out, strip) for strip in strips]
        entries = [
            _entry(out, order, code, *tag)
            for code, tag in sorted({**known, 273: (LONG, offsets), 279: (LONG, [len(s) for s in strips])}.items())
        ]
        struct.pack_into(f"{order}L", out, link, len(out))
        out += struct.pack(f"{order}H", len(entries)) + b"".join(entries)
        link = len(out)
        out += bytes(4)
    return bytes(out)


def deflated(strips: list[bytes], known: Mapping[int, Tag]) -> Directory:
    """The same directory, compressed."""
    return [zlib.compress(strip) for strip in strips], {**known, 259: (SHORT, 8)}


def _entry(out: bytearray, order: str, code: int, kind: int, value: int | bytes | Sequence[int]) -> bytes:
    if isinstance(value, bytes):
        data, count = value, len(value)
    else:
        values = [value] if isinstance(value, int) else list(value)
        numbers = [n for v in values for n in (v, 1)] if kind == RATIONAL else values
        data, count = struct.pack(f"{order}{len(values) * _CODES[kind]}", *numbers), len(values)
    if len(data) > 4:
        data = struct.pack(f"{order}L", _append(out, data))
    return struct.pack(f"{order}HHL", code, kind, count) + data.ljust(4, b"\0")


def _append(out: bytearray, data: bytes) -> int:
    offset = len(out)
    out += data + bytes(len(data) % 2)
    return offset
