"""What differs between two uploaded pictures, and that few of them are in memory at once."""

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from bfs_serve.api import pictures as module
from bfs_serve.api.pictures import Pictures, differing
from bfs_serve.problems import ProblemError

KEYS = ("composite", "background")
MakePng = Callable[..., bytes]


@pytest.mark.parametrize("box", [(3, 60, 5, 70), (0, 0, 40, 200), (39, 199, 40, 200)])
def test_the_box_around_what_differs(box: tuple[int, int, int, int]) -> None:
    """Over rows that are looked at apart; noise of saving a picture again is no difference."""
    background = np.random.default_rng(0).integers(8, 240, (200, 40, 3), np.uint8)
    finished = background + np.uint8(3)
    assert differing(finished, background) is None
    x0, y0, x1, y1 = box
    finished[y0:y1, x0:x1, 1] = background[y0:y1, x0:x1, 1] - 4
    assert differing(finished, background) == box


def test_pictures_that_cannot_be_compared(pictures: Pictures, make_png: MakePng) -> None:
    """Of two sizes, and twice the same one."""
    for second, rule in ((make_png(48, 33), "has another size"), (make_png(48, 32), "is the same picture")):
        with pytest.raises(ProblemError, match=rule):
            asyncio.run(pictures.changed(make_png(48, 32), second, KEYS))
    with pytest.raises(ProblemError, match="has another size"):
        asyncio.run(pictures.alike(make_png(48, 32), make_png(48, 33), KEYS))


def test_large_pictures_are_in_memory_a_pair_at_a_time(make_png: MakePng, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests wait: an upload of kilobytes can have hundreds of megabytes of pixels."""
    monkeypatch.setattr(module, "_SMALL_PIXELS", 1)  # every picture is a large one
    counting, now, most = threading.Lock(), 0, 0

    def noted(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int, int]:
        nonlocal now, most
        with counting:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with counting:
            now -= 1
        return 0, 0, 1, 1

    monkeypatch.setattr(module, "differing", noted)
    pictures = Pictures(num_readers=1)

    async def flood() -> None:
        pairs = [pictures.changed(make_png(seed=seed), make_png(seed=9), KEYS) for seed in range(8)]
        assert await asyncio.gather(*pairs) == [((0, 0, 1, 1), 48, 32)] * 8

    try:
        asyncio.run(flood())
    finally:
        pictures.close()
    assert most == 1
