"""Pieces of a tar at random, compressed or not, without ever unpacking it to disk.

A gzip stream cannot be entered in its middle. While it is read, the state of the decompressor is kept every few MiB; a
later read starts from the nearest state before it. Reads in listing order go on from where the last one stopped.
"""

import tarfile
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bfs_platform.storage.path import Location, version_of

GZIP_MAGIC = b"\x1f\x8b"
SPACING = 64 * 2**20
CHUNK = 256 * 2**10
# A few kilobytes can unpack to gigabytes: no step gives more than this.
MAX_STEP = 4 * 2**20
MAX_CURSORS = 6


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its name, and where its bytes are in the uncompressed stream."""

    name: str
    offset: int
    size: int


def is_gzip(path: Location) -> bool:
    """By content, not by name."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def members(path: Location) -> Iterator[tuple[Member, Any]]:
    """Stream through a tar once: each regular file with a reader that is valid until the next one is asked for.

    Raises `tarfile.TarError`, `EOFError` or `zlib.error` where the archive is damaged or cut off.
    """
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz" if is_gzip(path) else "r|") as archive:
        for info in archive:
            if info.isreg():
                yield Member(info.name.removeprefix("./"), info.offset_data, info.size), archive.extractfile(info)


def read_piece(path: Location, offset: int, size: int) -> bytes:
    """`size` bytes at `offset` of the uncompressed archive. Raises `EOFError` or `zlib.error` when it is damaged."""
    return _reader(path, *version_of(path)).read(offset, size)


@lru_cache(maxsize=8)
def _reader(path: Location, size: int, time_ns: int) -> "PlainReader | GzipReader":
    """One reader per process and version of a file."""
    return GzipReader(path) if is_gzip(path) else PlainReader(path)


class PlainReader:
    """An uncompressed archive: a seek."""

    def __init__(self, path: Location) -> None:
        self.path = path

    def read(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise EOFError(f"{self.path.name} ends before {offset + size}")
        return data


class _State:
    """A decompressor at `position` of the output, with what it has read but not used."""

    def __init__(self, position: int = 0, raw: int = 0, engine: Any = None, rest: bytes = b"") -> None:
        self.position, self.raw, self.rest = position, raw, rest
        self.engine = engine if engine is not None else zlib.decompressobj(wbits=31)

    def copy(self) -> "_State":
        return _State(self.position, self.raw, self.engine.copy(), self.rest)

    def step(self, file: Any) -> bytes:
        """The next piece of output; empty at the end of the stream."""
        while True:
            if self.engine.eof:
                # Gzip members may follow each other; zero bytes after the last are padding.
                rest = self.engine.unused_data.lstrip(b"\0")
                while not rest:
                    data = self._more(file)
                    if not data:
                        return b""
                    rest = data.lstrip(b"\0")
                self.rest, self.engine = rest, zlib.decompressobj(wbits=31)
            data = self.rest or self._more(file)
            if not data:
                raise EOFError("the archive is cut off")
            out = self.engine.decompress(data, MAX_STEP)
            self.rest = self.engine.unconsumed_tail
            if out:
                self.position += len(out)
                return out

    def _more(self, file: Any) -> bytes:
        file.seek(self.raw)
        data = file.read(CHUNK)
        self.raw += len(data)
        return data


class GzipReader:
    """A compressed archive: saved states for jumps, and a few cursors for reads that go on in order."""

    def __init__(self, path: Location, spacing: int = SPACING) -> None:
        self.path, self.spacing = path, spacing
        self._saved: list[tuple[int, _State]] = [(0, _State())]
        # Where a read ended → its state and the output that came after what was asked for.
        self._cursors: OrderedDict[int, tuple[_State, int, bytes]] = OrderedDict()

    def read(self, offset: int, size: int) -> bytes:
        state, start, buffer = self._nearest(offset)
        with self.path.open("rb") as file:
            while start + len(buffer) < offset + size:
                if start + len(buffer) <= offset:
                    start, buffer = start + len(buffer), b""
                self._save(state)
                out = state.step(file)
                if not out:
                    raise EOFError(f"{self.path.name} ends before {offset + size}")
                buffer += out
        self._cursors[offset + size] = state, start, buffer
        while len(self._cursors) > MAX_CURSORS:
            self._cursors.popitem(last=False)
        return buffer[offset - start : offset - start + size]

    def _nearest(self, offset: int) -> tuple[_State, int, bytes]:
        """The latest point at or before `offset`: a cursor, which is taken over, or a copy of a saved state."""
        saved = self._saved[bisect_right(self._saved, offset, key=lambda entry: entry[0]) - 1]
        behind = [end for end, (_, start, _) in self._cursors.items() if saved[0] < start <= offset]
        if behind:
            return self._cursors.pop(max(behind))
        return saved[1].copy(), saved[0], b""

    def _save(self, state: _State) -> None:
        if state.position >= self._saved[-1][0] + self.spacing:
            self._saved.append((state.position, state.copy()))
