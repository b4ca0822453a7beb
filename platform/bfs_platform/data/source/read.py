"""Bytes of one part of a record, wherever they lie, checked against the source's manifest when it has one."""

import hashlib
import zlib
from functools import lru_cache
from importlib import import_module
from pathlib import Path, PurePosixPath

import pyarrow as pa

from bfs_platform.data.record import Part, Reason, Reject
from bfs_platform.storage.archive import read_piece
from bfs_platform.storage.columns import read_cell
from bfs_platform.storage.path import Location, RemotePath

MAX_BYTES = 256 * 2**20
# Containers that are taken apart as a whole, by `read_layer(root, part)` of their source.
_TAKEN_APART = {"mulan": "bfs_platform.data.source.mulan", "document": "bfs_platform.data.source.documents"}


def read_part(root: Location, part: Part) -> bytes:
    """The bytes of `part` below `root`. Raises `Reject`: missing, damaged (its sha256 differs), too large, or unreadable."""
    path = _inside(root, part.path)
    try:
        if part.container in _TAKEN_APART:
            return bytes(import_module(_TAKEN_APART[part.container]).read_layer(root, part))
        data = _READERS[part.container](path, part)
    except FileNotFoundError:
        raise Reject(Reason.MISSING, f"{part.path} does not exist") from None
    except OSError as error:
        raise Reject(Reason.UNREADABLE, f"{part.path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, pa.ArrowException) as error:
        raise Reject(Reason.UNREADABLE, f"{part.path}: {error}") from None
    if part.sha256 is not None and hashlib.sha256(data).hexdigest() != part.sha256:
        raise Reject(Reason.DAMAGED, f"{part.path}: its sha256 is not the one in the source's manifest")
    return data


def _inside(root: Location, relative: str) -> Location:
    """A path that stays below `root`: a list of records from elsewhere must not name other files of this machine."""
    if "\0" in relative:
        raise Reject(Reason.UNREADABLE, f"{relative!r} is not a path")
    if isinstance(root, RemotePath):
        if ".." in PurePosixPath(relative).parts or relative.startswith("/"):
            raise Reject(Reason.UNREADABLE, f"{relative} leads out of the source")
        return root / relative
    try:
        path = (root / relative).resolve()
    except (ValueError, RuntimeError) as error:  # half of a surrogate pair; a loop of links
        raise Reject(Reason.UNREADABLE, f"{relative!r} is not a path ({error})") from None
    if not path.is_relative_to(_resolved(root)):
        raise Reject(Reason.UNREADABLE, f"{relative} leads out of the source")
    return path


@lru_cache(maxsize=64)
def _resolved(root: Path) -> Path:
    return root.resolve()


def _from_file(path: Location, part: Part) -> bytes:
    _check_size(path.stat().st_size, part)
    return path.read_bytes()


def _from_tar(path: Location, part: Part) -> bytes:
    _check_size(part.size, part)
    return read_piece(path, part.offset, part.size)


def _from_parquet(path: Location, part: Part) -> bytes:
    try:
        data = read_cell(path, part.row, part.column)
    except (IndexError, KeyError) as error:
        raise Reject(Reason.MISSING, f"{part.path} has no {error}") from None
    except TypeError as error:
        raise Reject(Reason.UNREADABLE, f"{part.path}: {error}") from None
    if not data:
        raise Reject(Reason.MISSING, f"{part.path}: {part.column} of row {part.row} is empty")
    _check_size(len(data), part)
    return data


def _check_size(num_bytes: int, part: Part) -> None:
    if num_bytes > MAX_BYTES:
        raise Reject(Reason.TOO_LARGE, f"{part.path} holds a picture larger than {MAX_BYTES // 2**20} MiB")


_READERS = {"file": _from_file, "tar": _from_tar, "parquet": _from_parquet}
