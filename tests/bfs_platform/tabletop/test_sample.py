"""Finished scenes: files, records, determinism, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import bounding_box
from bfs_platform.tabletop import sample
from bfs_platform.tabletop.sample import FOLDERS, Request, make_chunk, make_sample
from bfs_platform.tabletop.vocabulary import Combination, caption, split_of

REQUEST = Request(seed=7, split="train", resolution=32, samples=4)


def _image(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_sample_is_complete() -> None:
    """Four pictures of the asked size; the record's box is that of the mask and its words are those of the caption."""
    made = make_sample(REQUEST, 5)
    images = {folder: _image(made.images[folder]) for folder in FOLDERS}
    assert images["source"].shape == images["GT"].shape == (32, 32, 3)
    assert images["mask"].shape == images["effect"].shape == (32, 32)
    assert set(np.unique(images["mask"])) == {0, 255} and set(np.unique(images["effect"])) <= {0, 255}
    record = made.record
    assert record["box"] == list(bounding_box(images["mask"]) or ())
    combination = Combination(record["shape"], record["colour"], record["material"])
    assert record["caption"] == caption(record["size"], combination) and split_of(combination) == "train"
    assert record["source"] == "source/000005.png" and record["effect"] == "effect/000005.png" and record["seed"] == 7


def test_a_sample_does_not_depend_on_its_company() -> None:
    """Bitwise: a scene is the same alone, in another order, and in another chunk."""
    together = {made.index: made for made in make_chunk(REQUEST, [2, 0, 1])}
    assert make_sample(REQUEST, 1) == together[1] and make_chunk(REQUEST, [0, 2]) == [together[0], together[2]]


def test_every_part_of_a_request_matters() -> None:
    """Another seed, split, resolution, number of samples or world gives another picture; the first world need not be named."""
    others = [Request(8, "train", 32, 4), Request(7, "heldout", 32, 4), Request(7, "train", 48, 4), Request(7, "train", 32, 8)]
    others.append(Request(7, "train", 32, 4, 2))
    assert "world" not in REQUEST.facts() and others[-1].facts()["world"] == 2
    pictures = {make_sample(request, 0).images["source"] for request in [REQUEST, *others]}
    assert len(pictures) == 6


def test_the_object_is_neither_cut_nor_tiny() -> None:
    """Of a number of scenes, each shows its object at 18 to 40 pixels of 64, clear of the border."""
    for made in make_chunk(REQUEST, list(range(12))):
        x0, y0, x1, y1 = made.record["box"]
        assert 17 <= 2 * max(x1 - x0, y1 - y0) <= 42
        assert x0 > 0 and y0 > 0 and x1 < 32 and y1 < 32


def test_a_badly_placed_object_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the first attempt is refused, the next one is used; when none is acceptable, the fault is named."""
    accepted, tried = sample._whole, []

    def refuse_first(*arguments: object) -> bool:
        tried.append(arguments)
        return len(tried) > 1 and accepted(*arguments)  # type: ignore[arg-type]

    usual = make_sample(REQUEST, 3)
    monkeypatch.setattr(sample, "_whole", refuse_first)
    assert make_sample(REQUEST, 3) != usual
    monkeypatch.setattr(sample, "_whole", lambda *_: False)
    monkeypatch.setattr(sample, "_MAX_ATTEMPTS", 3)
    with pytest.raises(RuntimeError, match="scene 3"):
        make_sample(REQUEST, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1, "split": "all"}, "split=all"),
        ({"seed": 1, "resolution": 8}, "resolution=8"),
        ({"seed": 1, "samples": 2}, "samples=2"),
        ({"seed": 1, "world": 3}, "world=3"),
    ],
)
def test_a_bad_request_is_refused(arguments: dict[str, object], message: str) -> None:
    """Each field says what it allows."""
    with pytest.raises(BadInput, match=message):
        Request(**arguments)  # type: ignore[arg-type]
