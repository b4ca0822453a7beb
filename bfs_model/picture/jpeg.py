"""JPEG (ITU-T T.81): the segments that are the picture, and of the applications' own those that say how it is to be shown."""

import struct
from collections.abc import Iterator

SIGNATURE = b"\xff\xd8\xff"
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT, _SCAN = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA
# Marker → how a segment begins that is kept, and how long it is at least: Pillow refuses a picture for a shorter one.
_KEPT = {
    _APP0: ((b"JFIF\0", 14),),
    _APP1: ((b"Exif\0\0", 6), (b"http://ns.adobe.com/xap/1.0/\0", 29)),
    _APP2: ((b"ICC_PROFILE\0", 15),),
    _APP14: ((b"Adobe", 12),),
}


def strip(data: bytes) -> bytes:
    """A JPEG without comments, previews and notes of applications. Damage is left for the decoder to find."""
    return b"".join([data[:2], *(segment for marker, segment in _segments(data) if _is_kept(marker, bytes(segment[4:])))])


def _is_kept(marker: int, content: bytes) -> bool:
    if marker == _COMMENT or _APP0 <= marker <= _APP15:
        return any(content.startswith(start) and len(content) >= least for start, least in _KEPT.get(marker, ()))
    return True


def _segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Marker and whole of each segment; from the first scan on, or where the structure ends too early, all that is left."""
    view, position = memoryview(data), 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        end = position + 1 if marker == 0xFF else position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == _SCAN or end > len(data):
            break
        if marker != 0xFF:  # else a byte that fills
            yield marker, view[position:end]
        position = end
    yield _SCAN, view[position:]
