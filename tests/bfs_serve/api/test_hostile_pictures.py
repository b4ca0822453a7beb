"""Pictures made to hurt: each costs a child of the service at most seconds, and nobody else anything."""

import asyncio
import io
import resource
import struct
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from PIL import Image

from bfs_platform.data.spec import DecoderSpec
from bfs_serve.api.pictures import _LIMITS, _TINY_LIMITS, Pictures
from bfs_serve.problems import ProblemError


def bomb_of_scans(side: int, num_bytes: int) -> bytes:
    """A progressive JPEG of a grey plane whose last scan is repeated: a few bytes, for which decoders go through all of the picture."""
    out = io.BytesIO()
    Image.new("L", (side, side), 128).save(out, "JPEG", progressive=True)
    whole = out.getvalue().removesuffix(b"\xff\xd9")
    scan = whole[whole.rindex(b"\xff\xc4") :]  # with the Huffman table before it
    return whole + scan * (num_bytes // len(scan)) + b"\xff\xd9"


def bomb_of_segments(num_bytes: int) -> bytes:
    """A JPEG whose header alone is as long as an upload may be, in segments of four bytes."""
    return b"\xff\xd8" + b"\xff\xe1\x00\x02" * (num_bytes // 4) + b"\xff\xd9"


def bomb_of_text(num_bytes: int) -> bytes:
    """A PNG whose comments unpack to far more than they weigh."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    text = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"\x00" * 2**20))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return head + text * (num_bytes // len(text)) + chunk(b"IDAT", zlib.compress(b"\x00" * 200)) + chunk(b"IEND", b"")


def _held_up(work: Callable[[Pictures], Coroutine[Any, Any, None]], pictures: Pictures) -> float:
    """The longest time for which the event loop did nothing else while `work` ran, in seconds."""

    async def main() -> float:
        longest, task = 0.0, asyncio.create_task(work(pictures))
        while not task.done():
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begin)
        await task
        return longest

    return asyncio.run(main())


@pytest.fixture(scope="module")
def readers() -> Iterator[Pictures]:
    """Readers of less patience, so that the test is short."""
    own = Pictures(1, DecoderSpec(cpu_s=1.0, wall_s=60.0), DecoderSpec(cpu_s=1.0, wall_s=60.0))
    yield own
    own.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (bomb_of_scans(4000, 2**20), 422),
        (bomb_of_scans(2000, 2**20), 422),
        (bomb_of_segments(16 * 2**20), 422),
        (bomb_of_text(2 * 2**20), None),
        (b"RIFF" + b"\xff" * 2**20, 422),
        (b"II*\0" + b"\x08" * 2**20, 422),
    ],
    ids=["scans", "small scans", "segments", "text", "webp", "tiff"],
)
def test_a_bomb_costs_its_child_seconds_and_the_loop_nothing(readers: Pictures, data: bytes, status: int | None) -> None:
    """It is refused, or read where that is cheap; other pictures are looked at meanwhile. Seconds are those of computing."""
    statuses: list[int] = []

    async def look(pictures: Pictures) -> None:
        try:
            await pictures.check(data, "background")
        except ProblemError as error:
            statuses.append(error.problem.status)

    before = _computed()
    assert _held_up(look, readers) < 2.0
    assert _computed() - before < 10
    assert status is None or statuses == [status]


def test_patience_is_counted_in_seconds() -> None:
    """What an upload may cost by default."""
    assert _LIMITS.cpu_s <= 8 and _TINY_LIMITS.cpu_s <= 1


def _computed() -> float:
    """Seconds that this process and its children that have ended have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
