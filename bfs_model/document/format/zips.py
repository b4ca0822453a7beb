"""Zip files: written so that equal content gives equal bytes, read without trusting a word they say about their size."""

import io
import struct
import zipfile
from collections.abc import Iterable

from bfs_model.document.format.manifest import MAX_JSON_BYTES, Reading

ZIP = b"PK\x03\x04"  # how a zip begins
MAX_ENTRIES = 1000
MAX_DIRECTORY_BYTES = 2**20
MAX_TOTAL_BYTES = 2**30
MAX_RATIO = 200  # of what is larger than a manifest may be: repetitive prompts compress better

_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _COMMENT_BYTES = 22, 65535
_WHEN = (1980, 1, 1, 0, 0, 0)


def pack(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of `(name, content)` in this order. PNGs and `mimetype` are stored as they are, the rest is deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name == "mimetype" or name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()


class Unpacker:
    """Reads entries of a zip by name, one at a time, within limits on their number, size and compression."""

    def __init__(self, data: bytes, reading: Reading) -> None:
        self._reading, self._left = reading, MAX_TOTAL_BYTES
        _check_directory(data, reading)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            entries = self._archive.infolist()
        except Exception as error:  # hostile bytes make zipfile raise BadZipFile, struct.error, ValueError, NotImplementedError …
            raise reading.bad(f"is not a readable zip ({error})") from None
        self._entries = {info.filename: info for info in entries}
        if len(self._entries) != len(entries):
            raise reading.bad("is a zip that names an entry twice")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """The content of one entry; its checksum is verified."""
        info = self._entries.get(name)
        if info is None:
            raise self._reading.bad(f"lacks its entry {name!r}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._reading.bad(f"holds {name!r} in a compression that is not allowed")
        if info.file_size > min(self._left, max(MAX_JSON_BYTES, MAX_RATIO * info.compress_size)):
            raise self._reading.bad(f"holds {name!r}, which unpacks to {info.file_size:,} bytes", "this looks like a zip bomb")
        self._left -= info.file_size
        try:
            with self._archive.open(info) as entry:
                # With the size given zipfile inflates no further, and verifies the checksum on the last byte; without it, an
                # entry that lies about its size is inflated whole and cut afterwards.
                return entry.read(info.file_size)
        except Exception as error:  # zlib.error, RuntimeError (encrypted), EOFError …
            raise self._reading.bad(f"has a damaged entry {name!r} ({error})") from None


def _check_directory(data: bytes, reading: Reading) -> None:
    """Look at the number of entries before zipfile makes an object of each: 100 MB can declare two million."""
    start = data.rfind(_END, max(len(data) - _END_BYTES - _COMMENT_BYTES, 0))
    if start < 0 or len(data) - start < _END_BYTES:
        raise reading.bad("is not a readable zip (no directory)")
    num_entries, directory_bytes = struct.unpack_from("<HI", data, start + 10)
    if data[max(start - 20, 0) :].startswith(_END_64) or num_entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise reading.bad(f"is a zip of more than {MAX_ENTRIES} entries")
