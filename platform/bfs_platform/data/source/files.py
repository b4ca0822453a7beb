"""Names of a source's files: those that only a file system put there, and one name in two Unicode forms."""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Row
from bfs_platform.storage.path import Location, RemotePath

# What macOS, Windows, network drives and object stores leave beside the files of people.
_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "#recycle", "system volume information", "lost+found"})
_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"})
_FOLDER_MARK = "_$folder$"


@dataclass(frozen=True, slots=True)
class Debris:
    """A file that a source's listing came across and passed over: hidden, or a file system's own."""

    path: str


def is_debris(path: str) -> bool:
    """Whether a path inside a source is hidden (`.DS_Store`, `._a.png`), a file system's own (`Thumbs.db`), or in such a folder."""
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    owned = any(part.lower() in _FOLDERS for part in parts) or bool(parts and parts[-1].lower() in _FILES)
    return hidden or owned or path.endswith(_FOLDER_MARK)


def sorted_out(paths: Iterable[Any], root: Location) -> tuple[list[Any], list[Debris]]:
    """Files of people, and debris, of `paths` below `root`."""
    kept: list[Any] = []
    debris: list[Debris] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if is_debris(name):
            debris.append(Debris(name))
        else:
            kept.append(path)
    return kept, debris


def files_below(root: Location, *suffixes: str) -> tuple[list[Any], list[Debris]]:
    """The files of a root that is one file, or all below a folder with one of `suffixes` in any case, sorted by name; and debris.

    Raises `BadInput` when there is none.
    """
    kept, debris = ([root], []) if root.is_file() else sorted_out(all_below(root), root)
    found = [path for path in kept if path == root or path.name.lower().endswith(suffixes)]
    if not found:
        raise BadInput("input", root, f"holds no {' or '.join(suffixes)} file", "point to the folder or the file as it was published")
    return found, debris


def all_below(folder: Location) -> list[Any]:
    """Every file below a folder, sorted by name; links are followed, each folder once. A link to nothing is listed: it is missed later."""
    if isinstance(folder, RemotePath):
        return list(folder.rglob("*"))
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link to a folder above: os.walk would never end
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in names:
            path = Path(place, name)
            if path.is_file() or (path.is_symlink() and not path.exists()):  # no pipe, no device
                yield path


def relative(path: Any, root: Any) -> str:
    """`path` as rows name it, below `root` or, when that is one file, beside it."""
    return (path.relative_to(root.parent) if path == root else path.relative_to(root)).as_posix()


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS stores é as e and an accent, most lists have it as one letter."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def stored(row: Row, root: Location) -> Row:
    """`row` with the paths of its files as the file system has them, where it writes a name in the other Unicode form."""
    if all(part.path.isascii() for part in row.parts.values()):
        return row
    return replace(row, parts={role: replace(part, path=as_stored(root, part.path)) for role, part in row.parts.items()})


def as_stored(root: Location, path: str) -> str:
    """The path of the file below `root` that has this name in either Unicode form; `path` itself where there is none."""
    parts = PurePosixPath(path).parts
    if path.isascii() or "\0" in path or ".." in parts or path.startswith("/"):
        return path
    if isinstance(root, RemotePath):
        return _objects(root).get(composed(path), path)
    here = root
    try:
        for part in parts:
            if not (here / part).exists():
                part = _names(here, here.stat().st_mtime_ns).get(composed(part), part)
            here /= part
        return here.relative_to(root).as_posix()
    except (OSError, ValueError):  # no folder, no name that the file system could have
        return path


@lru_cache(maxsize=64)
def _names(folder: Path, time_ns: int) -> Mapping[str, str]:
    return {composed(name): name for name in os.listdir(folder) if not name.isascii()}


@lru_cache(maxsize=4)
def _objects(root: RemotePath) -> Mapping[str, str]:
    return {composed(name): name for name in root.files() if not name.isascii()}
