"""Pickles are read as data: what is data comes out right, what is not never runs."""

import os
import pickle
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_platform.data.decode.restricted_pickle import Refused, loads, loads_compressed

DRAW = np.random.default_rng(11)
ARRAYS = {
    "masks": DRAW.integers(0, 2, (5, 7)).astype(bool),
    "columns first": np.asfortranarray(DRAW.integers(0, 255, (5, 3, 2), dtype=np.uint8)),
    "floats": DRAW.normal(size=(2, 3)).astype(">f4"),
    "empty": np.zeros((0, 4), np.int64),
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_out_as_it_went_in(protocol: int) -> None:
    """Containers, numbers, texts, bytes, arrays and pictures, in every protocol."""
    plain = {"a": [1, 2.5, None, True], "b": ("ü", b"bytes", {3, 4}), 5: OrderedDict(x=1)}
    picture = Image.fromarray(DRAW.integers(0, 255, (4, 6, 3), dtype=np.uint8))
    value = loads(pickle.dumps({"plain": plain, "picture": picture, "number": np.float32(1.5), **ARRAYS}, protocol))
    assert value["plain"] == plain and value["number"] == 1.5
    np.testing.assert_array_equal(value["picture"], np.asarray(picture))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(value[name], array)


class Runs:
    """What a hostile pickle holds."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "hostile",
    [
        Runs(os.system, "touch ran"),
        Runs(eval, "open('ran', 'w')"),
        Runs(getattr, "x", "upper"),
        Runs(Image.open, "/etc/passwd"),
        Runs(bytearray, 2**40),
        [Runs(Path, "x")],
        Image.fromarray(np.zeros((2, 2), np.uint8)).convert("P"),
        np.array([object()], object),
        {"a": np.ma.masked_array([1])},
    ],
    ids=["a function", "a builtin", "an attribute", "a file", "memory", "in a list", "a palette", "objects", "a masked array"],
)
def test_what_is_no_data_is_refused(hostile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, classes, object arrays: refused by name, and nothing was called."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        loads(pickle.dumps({"value": hostile}))
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_lying_pickles_are_refused() -> None:
    """Cut off, empty, text, an array that claims more than its bytes, containers within containers without end."""
    good = pickle.dumps({"x": np.arange(100, dtype=np.uint8)}, 4)
    lying = good.replace(b"K\x64\x85", b"K\x65\x85")
    assert lying != good
    loop: list[Any] = []
    loop.append(loop)
    for data in (good[:-20], b"", b"hello", lying, pickle.dumps(loop), pickle.dumps({"x": 1})[:-1]):
        with pytest.raises(Refused):
            loads(data)


def test_compressed_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that unpack beyond the limit, a cut-off stream, and no zlib at all."""
    monkeypatch.setattr("bfs_platform.data.decode.restricted_pickle.MAX_UNPACKED", 10_000)
    assert loads_compressed(zlib.compress(pickle.dumps([1]))) == [1]
    with pytest.raises(Refused, match="unpacks to more than"):
        loads_compressed(zlib.compress(pickle.dumps(b"0" * 20_000)))
    with pytest.raises(Refused, match="cut off"):
        loads_compressed(zlib.compress(pickle.dumps(list(range(100))))[:-9])
    with pytest.raises(Refused, match="unpacked"):
        loads_compressed(pickle.dumps([1]))
