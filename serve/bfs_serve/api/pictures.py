"""Uploaded pictures: looked at in child processes under limits, and kept as blobs. A hostile one costs its child, nobody else."""

import asyncio
import io
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.images import FORMATS
from bfs_platform.data.decode.isolated import IsolatedReader
from bfs_platform.data.record import Reject
from bfs_platform.data.spec import DecoderSpec
from bfs_serve import problems
from bfs_serve.problems import ProblemError

MAX_IMAGE_BYTES = 64 * 2**20
MAX_PIXELS = 8192 * 8192
_READERS = 2
# Seconds of computing are what a hostile picture may cost; those of waiting only bound how long a busy machine is put up with.
_LIMITS = DecoderSpec(cpu_s=8.0, wall_s=60.0)
_TINY_LIMITS = DecoderSpec(cpu_s=1.0, wall_s=20.0)
_DOCUMENT_LIMITS = _LIMITS.model_copy(update={"function": "bfs_platform.data.decode.document:as_archive", "memory_bytes": 2**32})
_SMALL_PIXELS = 2**22
_HEADER_BYTES = 2**14
_CHANGED = 3  # levels by which two pictures differ where something was added, beyond what saving them again does
_ROWS = 64
_TOO_LARGE = re.compile(r"more than [0-9,]+( pixels)?$")  # what `read_image` says of too many pixels
Value = TypeVar("Value")
Box4 = tuple[int, int, int, int]
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*")


@dataclass(frozen=True, slots=True, eq=False)
class Readable:
    """A picture that can be read: its bytes, and its upright size."""

    data: bytes
    width: int
    height: int


class Pictures:
    """A few readers in child processes, shared by all requests of this process."""

    def __init__(self, num_readers: int = _READERS, limits: DecoderSpec = _LIMITS, small: DecoderSpec = _TINY_LIMITS) -> None:
        # Each kind has threads of its own: large pictures, hostile ones among them, keep small ones waiting for nothing.
        self._small, self._large = _Readers(num_readers, small), _Readers(num_readers, limits)
        self._documents = _Readers(1, _DOCUMENT_LIMITS)
        self._pairs, self._large_pairs = ThreadPoolExecutor(num_readers), ThreadPoolExecutor(1)

    async def check(self, data: bytes, key: str) -> Readable:
        """Decode an uploaded picture once, to be sure that it can be. Raises `ProblemError`."""
        _check(data, key)
        width, height = await _answered(self._readers(data), data, key, lambda reader: reader.size(data, key=key, max_pixels=MAX_PIXELS))
        return Readable(data, width, height)

    async def alike(self, first: bytes, second: bytes, keys: tuple[str, str]) -> tuple[int, int]:
        """Width and height of two pictures of one size, each decoded once. Raises `ProblemError`."""
        found = [await self.check(data, key) for data, key in zip((first, second), keys, strict=True)]
        return _one_size([(one.width, one.height) for one in found], keys)

    async def changed(self, first: bytes, second: bytes, keys: tuple[str, str]) -> tuple[Box4, int, int]:
        """The box around what differs between two pictures of one size, and that size. Raises `ProblemError`.

        One pair at a time has its pixels here, of small pictures a few: those that wait hold their files alone.
        """
        for data, key in zip((first, second), keys, strict=True):
            _check(data, key)
        pairs = self._pairs if self._readers(first) is self._readers(second) is self._small else self._large_pairs
        return await asyncio.get_running_loop().run_in_executor(pairs, self._changed, first, second, keys)

    def _changed(self, first: bytes, second: bytes, keys: tuple[str, str]) -> tuple[Box4, int, int]:
        pixels = [self._pixels(data, key) for data, key in zip((first, second), keys, strict=True)]
        width, height = _one_size([(one.shape[1], one.shape[0]) for one in pixels], keys)
        box = differing(*pixels)
        if box is None:
            raise _refused("invalid", keys[0], "<picture>", f"is the same picture as the {keys[1]}", "give the finished picture, or a box")
        return box, width, height

    def _pixels(self, data: bytes, key: str) -> np.ndarray:
        """uint8 RGB [H, W, 3], on a thread."""
        with _said(data, key):
            return self._readers(data).asked(lambda reader: reader(data, key=key, max_pixels=MAX_PIXELS).over_white())

    async def archive(self, data: bytes, key: str) -> bytes:
        """A Photoshop document that BFS wrote as a .zip; the library that reads it runs in a child. Raises `ProblemError`."""
        return await _answered(self._documents, data, key, lambda reader: reader.converted(data, key=key, max_pixels=MAX_PIXELS))

    def _readers(self, data: bytes) -> "_Readers":
        return self._small if 0 < _announced(data) <= _SMALL_PIXELS else self._large

    def close(self) -> None:
        """End the children."""
        for threads in (self._pairs, self._large_pairs):
            threads.shutdown(wait=False, cancel_futures=True)
        for readers in (self._small, self._large, self._documents):
            readers.close()


class _Readers:
    """Readers under the same limits, each asked by one thread at a time."""

    def __init__(self, num_readers: int, limits: DecoderSpec) -> None:
        self._threads = ThreadPoolExecutor(num_readers, thread_name_prefix="pictures")
        self._idle: SimpleQueue[IsolatedReader] = SimpleQueue()
        for _ in range(num_readers):
            self._idle.put(IsolatedReader(limits))

    async def ask(self, question: Callable[[IsolatedReader], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.asked, question)

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        while not self._idle.empty():
            self._idle.get().close()

    def asked(self, question: Callable[[IsolatedReader], Value]) -> Value:
        """What a reader answers, on this thread."""
        reader = self._idle.get()
        try:
            return question(reader)
        finally:
            self._idle.put(reader)


async def _answered(readers: _Readers, data: bytes, key: str, ask: Callable[[IsolatedReader], Value]) -> Value:
    """What a child says of some bytes. Raises `ProblemError`."""
    with _said(data, key):
        return await readers.ask(ask)


@contextmanager
def _said(data: bytes, key: str) -> Iterator[None]:
    """What a child finds wrong with some bytes, as a `ProblemError`."""
    try:
        yield
    except BadInput as error:
        raise ProblemError(problems.of_bad_input(error, "too-large" if _TOO_LARGE.search(error.rule) else "invalid")) from None
    except Reject as error:
        raise _refused("invalid", key, f"<{len(data)} bytes>", str(error).removeprefix(f"{key} "), "save it anew") from None


def differing(first: np.ndarray, second: np.ndarray) -> Box4 | None:
    """The box around what differs between two pictures, uint8 [H, W, 3], by more than saving them again does; None where nothing does.

    Row by row: the difference of large pictures as a whole would be larger than both.
    """
    height, width = first.shape[:2]
    rows, columns = np.zeros(height, bool), np.zeros(width, bool)
    for start in range(0, height, _ROWS):
        part = slice(start, start + _ROWS)
        differs = (np.abs(first[part].astype(np.int16) - second[part]) > _CHANGED).any(axis=-1)
        rows[part] = differs.any(axis=1)
        columns |= differs.any(axis=0)
    if not rows.any():
        return None
    (ys,), (xs,) = rows.nonzero(), columns.nonzero()
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def is_picture(data: bytes) -> bool:
    """Whether bytes begin as those of a picture that can be read here."""
    return data.startswith(_SIGNATURES)


def _check(data: bytes, key: str) -> None:
    """Raises `ProblemError` for too many bytes, too many pixels by what the picture says itself, or no picture at all."""
    shown = f"<{len(data)} bytes>"
    if len(data) > MAX_IMAGE_BYTES:
        raise too_many_bytes(key, len(data))
    if not is_picture(data):
        raise _refused("unsupported-media-type", key, shown, "is not a PNG, JPEG, WebP or TIFF picture", "save it as one of these")
    if _announced(data) > MAX_PIXELS:
        raise _refused("too-large", key, shown, f"has more than {MAX_PIXELS:,} pixels", "scale the picture down")


def _announced(data: bytes) -> int:
    """How many pixels a picture says in its first bytes that it has; 0 where they do not tell. More of it is not looked at here:
    the headers of a hostile one can be as long as the whole."""
    try:
        with Image.open(io.BytesIO(data[:_HEADER_BYTES]), formats=FORMATS) as header:
            return header.width * header.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return MAX_PIXELS + 1
    except Exception:  # decoders raise anything on hostile bytes; the reader says what is wrong
        return 0


def _one_size(sizes: list[tuple[int, int]], keys: tuple[str, str]) -> tuple[int, int]:
    if sizes[0] != sizes[1]:
        shown = [f"{width}x{height}" for width, height in sizes]
        raise _refused("invalid", keys[0], shown[0], f"has another size than the {keys[1]}, {shown[1]}", "give both in one size")
    return sizes[0]


def too_many_bytes(key: str, size: int) -> ProblemError:
    rule = f"is larger than {MAX_IMAGE_BYTES // 2**20} MiB"
    return _refused("too-large", key, f"<{size} bytes>", rule, "scale the picture down or save it as JPEG")


def _refused(slug: str, key: str, value: object, rule: str, remedy: str) -> ProblemError:
    return ProblemError(problems.of_bad_input(BadInput(key, value, rule, remedy), slug))
