"""Pickles of other people, read as data: plain containers, and the raw contents of arrays and pictures. Nothing is ever called.

A pickle names classes and functions and has them called. Here every name is looked up in a short table of stand-ins that only
keep what they are given; any other name ends the reading. What comes out are dicts, lists, tuples, sets, texts, bytes, numbers and
NumPy arrays that are made here, from bytes whose number fits their shape.
"""

import io
import pickle
import zlib
from typing import Any

import numpy as np

# What one compressed file may unpack to.
MAX_UNPACKED = 2**30
_KINDS = "?buif"  # booleans and numbers; never objects
_CHANNELS = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}


class Refused(ValueError):
    """The pickle holds something that is not data, or is damaged."""


class _Held:
    """Keeps its arguments and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Held):
    pass


class _Buffer(_Held):
    """How protocol 5 writes an array: contents, type, shape and order as arguments."""


class _Dtype(_Held):
    pass


class _Scalar(_Held):
    pass


class _Picture(_Held):
    pass


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes bytes of which there are none."""
    return b""


def _set(items: Any = ()) -> set:
    """How old protocols write sets."""
    if not isinstance(items, list | tuple):
        raise Refused("a set of something that is no list")
    return set(items)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin,
    ("collections", "OrderedDict"): dict,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("PIL.Image", "Image"): _Picture,
    ("PIL.PngImagePlugin", "PngImageFile"): _Picture,
    ("PIL.JpegImagePlugin", "JpegImageFile"): _Picture,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _STAND_INS |= {(_module, "_reconstruct"): _Array, (_module, "scalar"): _Scalar}
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    _STAND_INS[_module, "_frombuffer"] = _Buffer


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise Refused(f"it names {module}.{name}, which is no data") from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("it refers to something outside of itself")


def loads(data: bytes) -> Any:
    """The value of a pickle. Raises `Refused`."""
    try:
        return _plain(_Reader(io.BytesIO(data)).load(), depth=0)
    except Refused:
        raise
    except Exception as error:  # a damaged pickle fails in a dozen ways
        raise Refused(f"it cannot be read ({type(error).__name__}: {error})") from None


def loads_compressed(data: bytes) -> Any:
    """The value of a zlib-compressed pickle (`.p.zl`). Raises `Refused`, also when it unpacks to more than `MAX_UNPACKED`."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise Refused(f"it cannot be unpacked ({error})") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise Refused("it is cut off" if not unpacker.unconsumed_tail else f"it unpacks to more than {MAX_UNPACKED >> 20} MiB")
    return loads(unpacked)


def _plain(value: Any, depth: int) -> Any:
    """Stand-ins as arrays; containers all the way down."""
    if depth > 50:
        raise Refused("its containers are nested without end")
    if isinstance(value, dict):
        return {_plain(key, depth + 1): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(item, depth + 1) for item in value)
    if isinstance(value, _Array):
        return _array(value)
    if isinstance(value, _Buffer):
        data, dtype, shape, order = value.arguments
        return _ordered(data, dtype, shape, order == "F")
    if isinstance(value, _Scalar):
        dtype, data = value.arguments
        return _shaped(data, _dtype(dtype), ())[()]
    if isinstance(value, _Picture):
        return _picture(value)
    if value is None or isinstance(value, str | bytes | bytearray | bool | int | float | complex):
        return value
    raise Refused(f"it holds a {type(value).__name__}")


def _array(held: _Array) -> np.ndarray:
    if not isinstance(held.state, tuple) or len(held.state) != 5:
        raise Refused("an array without contents")
    _, shape, dtype, by_columns, data = held.state
    return _ordered(data, dtype, shape, by_columns)


def _ordered(data: Any, dtype: Any, shape: Any, by_columns: bool) -> np.ndarray:
    array = _shaped(data, _dtype(dtype), tuple(int(side) for side in shape)[:: -1 if by_columns else 1])
    return array.T if by_columns else array


def _dtype(held: Any) -> np.dtype:
    if not isinstance(held, _Dtype) or not isinstance(held.arguments[0], str):
        raise Refused("an array of an unknown type")
    order = held.state[1] if isinstance(held.state, tuple) and len(held.state) > 1 else "="
    dtype = np.dtype(held.arguments[0])
    if dtype.kind not in _KINDS:
        raise Refused(f"an array of {dtype}")
    return dtype.newbyteorder("<" if order == "<" else ">") if order in ("<", ">") else dtype


def _shaped(data: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(data, bytes | bytearray) or len(data) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise Refused("an array whose bytes do not fit its shape")
    return np.frombuffer(bytes(data), dtype).reshape(shape)


def _picture(held: _Picture) -> np.ndarray:
    """A pickled Pillow image: [H, W] or [H, W, C] uint8."""
    state = held.state
    if not isinstance(state, list | tuple) or len(state) < 5 or state[1] not in _CHANNELS or state[1] in ("1", "P"):
        raise Refused("a picture of an unknown mode")
    channels, (width, height) = _CHANNELS[state[1]], state[2]
    array = _shaped(state[4], np.dtype(np.uint8), (int(height), int(width), channels))
    return array[..., 0] if channels == 1 else array
