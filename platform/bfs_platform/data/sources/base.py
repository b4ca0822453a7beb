"""The registry of sources: a name, a licence, and a function that lists rows."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.record import Row
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.path import Location, RemotePath, location, reachable

Lister = Callable[[Any], Iterator[Row]]
_MODULES = ("rorem", "rorem_tar", "triplets", "ober", "anyinsertion", "samfb", "desobav2", "mulan", "pipe")
FREE = ("Apache-2.0", "CC0-1.0", "CC-BY-4.0", "MIT")
_SOURCES: dict[str, "SourceKind"] = {}


@dataclass(frozen=True, slots=True)
class Licence:
    """What a source's publishers allow, as far as it is known. `commercial` is True only where they say so."""

    name: str
    commercial: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A published layout: how to list it and under which licence it comes."""

    name: str
    licence: Licence
    lister: Lister


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source: its rows can be listed in a fixed order, as often as needed."""

    name: str
    root: Location
    licence: Licence
    lister: Lister

    @property
    def folder(self) -> Location:
        """What the paths of all parts are relative to: the root, or the folder of a root that is one file."""
        return self.root if self.root.is_dir() else self.root.parent

    def rows(self) -> Iterator[Row]:
        """List all records, in the order that the source itself defines. Reads no picture."""
        return self.lister(self.root)


def source(name: str, licence: Licence) -> Callable[[Lister], Lister]:
    """Register a lister under `name`."""

    def register(lister: Lister) -> Lister:
        _SOURCES[name] = SourceKind(name, licence, lister)
        return lister

    return register


def names() -> list[str]:
    """All registered sources."""
    _load()
    return sorted(_SOURCES)


def open_source(name: str, root: str | os.PathLike[str] | RemotePath) -> Source:
    """Open the source `name` at `root`. Raises `BadInput` for an unknown name or a missing folder.

    A folder that one of our own programs wrote (manifest of kind "source") keeps the name and licence stated there.
    """
    _load()
    if name not in _SOURCES:
        near = get_close_matches(name, _SOURCES, 1)
        raise BadInput("source", name, "is not known", f"did you mean {near[0]}?" if near else f"use one of {', '.join(names())}")
    kind, place = _SOURCES[name], reachable(location(root), "input")
    place = place if isinstance(place, RemotePath) else place.resolve()
    if not place.exists():
        raise BadInput("input", place, "does not exist", f"point to a {name} dataset")
    stated = (manifest_of(place) or {}).get("body", {})
    licence = Licence(str(stated["licence"]), stated["licence"] in FREE) if "licence" in stated else kind.licence
    return Source(str(stated.get("name", name)), place, licence, kind.lister)


def manifest_of(root: Location) -> dict[str, Any] | None:
    """The manifest that a source of our own carries, or None."""
    if root.is_dir() and (root / integrity.MANIFEST).exists():
        return read_manifest(root, "source")
    return None


def _load() -> None:
    for module in _MODULES:
        import_module(f"bfs_platform.data.sources.{module}")


def files_below(root: Location, *suffixes: str) -> list[Any]:
    """The files of a root that is one file, or all below a folder with one of `suffixes`, sorted by name.

    Raises `BadInput` when there is none.
    """
    found: list[Any] = [root] if root.is_file() else [path for path in all_below(root) if path.name.endswith(suffixes)]
    if not found:
        raise BadInput("input", root, f"holds no {' or '.join(suffixes)} file", "point to the folder or the file as it was published")
    return found


def all_below(folder: Location) -> list[Any]:
    """Every file below a folder, sorted by name."""
    return list(folder.rglob("*")) if isinstance(folder, RemotePath) else sorted(p for p in folder.rglob("*") if p.is_file())


def relative(path: Any, root: Any) -> str:
    """`path` as rows name it, below `root` or, when that is one file, beside it."""
    return (path.relative_to(root.parent) if path == root else path.relative_to(root)).as_posix()
