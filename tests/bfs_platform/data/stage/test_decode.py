"""Bytes to pictures: what is read, and each way in which it is set aside."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bfs_platform.data.record import Part, Reason, Reject, Row
from bfs_platform.data.stage.decode import decode

SIZE = (11, 17)


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def contents() -> dict[str, bytes]:
    draw = np.random.default_rng(3)
    picture = draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[3:7, 5:9] = 255
    return {"composite": png(picture), "background": png(picture // 2), "object_mask": png(mask)}


def row_of(parts: dict[str, bytes]) -> tuple[Row, Callable[[Part], bytes]]:
    return Row("r", "a thing", {role: Part(role) for role in parts}), lambda part: parts[part.path]


def rejected(parts: dict[str, bytes], max_pixels: int = 1000) -> Reject:
    with pytest.raises(Reject) as caught:
        decode(*row_of(parts), max_pixels)
    return caught.value


def test_reads_all_parts() -> None:
    """Pictures come as RGB, masks as one channel, layers as RGBA, an absent effect mask as None."""
    layer = np.dstack([np.full(SIZE, 9, np.uint8)] * 4)
    record = decode(*row_of(contents() | {"foreground": png(layer)}), 1000)
    assert record.composite.shape == (*SIZE, 3) and record.object_mask.shape == SIZE
    assert record.background is not None and record.effect_mask is None
    np.testing.assert_array_equal(record.foreground, layer)
    assert record.object_mask.sum() == 16 * 255


def test_grey_and_jpeg_are_fine() -> None:
    """A grey photograph is RGB; a mask saved as RGB JPEG is one channel."""
    mask = np.dstack([np.full(SIZE, 255, np.uint8)] * 3)
    record = decode(*row_of(contents() | {"composite": png(np.full(SIZE, 77, np.uint8)), "object_mask": png(mask, "JPEG")}), 1000)
    assert (record.composite == 77).all() and record.object_mask.shape == SIZE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"composite": b"not a picture"}, Reason.UNREADABLE),
        ({"composite": b""}, Reason.UNREADABLE),
        ({"composite": contents()["composite"][:60]}, Reason.UNREADABLE),
        ({"composite": png(np.zeros((3, 4, 3), np.uint8), "BMP")}, Reason.UNREADABLE),
        ({"background": png(np.zeros((40, 40, 3), np.uint8))}, Reason.TOO_LARGE),
        ({"background": png(np.zeros((11, 16, 3), np.uint8))}, Reason.SIZE_MISMATCH),
        ({"object_mask": png(np.zeros((17, 11), np.uint8))}, Reason.SIZE_MISMATCH),
        ({"composite": png(np.zeros((*SIZE, 4), np.uint8))}, Reason.WRONG_MODE),
        ({"object_mask": contents()["composite"]}, Reason.WRONG_MODE),
        ({"foreground": contents()["composite"]}, Reason.WRONG_MODE),
    ],
)
def test_each_fault_has_its_reason(change: dict[str, bytes], reason: Reason) -> None:
    """Truncated, foreign, bomb-sized, mis-sized and wrong-mode pictures are told apart."""
    assert rejected(contents() | change).reason == reason


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """A few kilobytes that would unpack to a gigabyte are refused by their header."""
    header = png(np.zeros((1, 1), np.uint8))
    width = height = (60_000).to_bytes(4, "big")
    import zlib

    chunk = b"IHDR" + width + height + header[24:29]
    bomb = header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:]
    assert rejected(contents() | {"composite": bomb}, 16_777_216).reason == Reason.TOO_LARGE


def test_missing_roles_and_listing_problems() -> None:
    """A row without a mask, and one whose listing was faulty, are rejects too."""
    parts = contents()
    del parts["object_mask"]
    assert rejected(parts).reason == Reason.MISSING
    with pytest.raises(Reject, match="entry 4 lacks"):
        decode(Row("x", problem="entry 4 lacks GT"), lambda part: b"", 10)
