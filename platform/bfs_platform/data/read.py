"""Bytes of one part of a record, wherever they lie, checked against the source's manifest when it has one."""

import hashlib
from pathlib import Path

from bfs_platform.data.record import Part, Reason, Reject

MAX_BYTES = 256 * 2**20


def read_part(root: Path, part: Part) -> bytes:
    """The bytes of `part` below `root` (resolved). Raises `Reject`: missing, damaged (its sha256 differs), too large, or unreadable."""
    path = _inside(root, part.path)
    try:
        data = _from_file(path)
    except FileNotFoundError:
        raise Reject(Reason.MISSING, f"{part.path} does not exist") from None
    except OSError as error:
        raise Reject(Reason.UNREADABLE, f"{part.path}: {error.strerror or error}") from None
    if part.sha256 is not None and hashlib.sha256(data).hexdigest() != part.sha256:
        raise Reject(Reason.DAMAGED, f"{part.path}: its sha256 is not the one in the source's manifest")
    return data


def _inside(root: Path, relative: str) -> Path:
    """A path that stays below `root`: a list of records from elsewhere must not name other files of this machine."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise Reject(Reason.UNREADABLE, f"{relative} leads out of the source")
    return path


def _from_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise Reject(Reason.TOO_LARGE, f"{path.name} is larger than {MAX_BYTES // 2**20} MiB")
    return path.read_bytes()
