"""The registry of sources: a name, a licence, and a function that lists rows. Further ones come as entry points `bfs.sources`."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform import extensions
from bfs_platform.data.record import Row
from bfs_platform.data.source.captions import captioned, read_captions, read_texts, text_of
from bfs_platform.data.source.files import Debris, is_debris
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.path import Location, RemotePath, location, reachable

Lister = Callable[[Any], Iterator[Row | Debris]]
_MODULES = ("rorem", "rorem_tar", "triplets", "documents", "ober", "anyinsertion", "samfb", "desobav2", "mulan", "pipe")
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
        return (item for item in self.listed() if isinstance(item, Row))

    def listed(self) -> Iterator[Row | Debris]:
        """The same with the files that were passed over: hidden ones, and a file system's own. A record that is one is none.

        Records without a caption get the one that a file of captions beside the source, or a text of their own, has for them.
        Raises `BadInput`.
        """
        captions = read_captions(self.folder)
        texts: dict[str, str] | None = None
        for item in self.lister(self.root):
            debris = next((p.path for p in item.parts.values() if is_debris(p.path)), None) if isinstance(item, Row) else None
            if debris is not None:
                yield Debris(debris)
            elif not isinstance(item, Row):
                yield item
            else:
                row = captioned(item, captions)
                if texts is None and row.parts and not row.caption.strip():  # looked for once, and only where something lacks its caption
                    texts = read_texts(self.folder)
                yield text_of(row, texts, self.folder) if texts else row


def source(name: str, licence: Licence) -> Callable[[Lister], Lister]:
    """Register a lister under `name`. It yields a row per record, in an order of its own, and reads no picture.

    Example:

        @source("shelf", Licence("CC0-1.0", commercial=True))
        def rows(root: Location) -> Iterator[Row]:
            for path in files_below(root, "_mask.png"):
                stem = path.name.removesuffix("_mask.png")
                yield Row(stem, "a cup", {"composite": Part(f"{stem}.png"), "object_mask": Part(path.name)})
    """

    def register(lister: Lister) -> Lister:
        _SOURCES[name] = SourceKind(name, licence, lister)
        return lister

    return register


def names() -> list[str]:
    """All sources: ours, and those of other packages."""
    _load()
    return sorted({*_SOURCES, *extensions.extensions(extensions.SOURCES)})


def open_source(name: str, root: str | os.PathLike[str] | RemotePath) -> Source:
    """Open the source `name` at `root`. Raises `BadInput` for an unknown name or a missing folder.

    A folder that one of our own programs wrote (manifest of kind "source") keeps the name and licence stated there.
    """
    kind, place = _kind(name), reachable(location(root), "input")
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


def _kind(name: str) -> SourceKind:
    """A source by name; one of another package is imported when it is asked for, not before."""
    _load()
    point = extensions.extensions(extensions.SOURCES).get(name)
    if name not in _SOURCES and point is not None:
        extensions.load(point)
        if name not in _SOURCES:
            raise BadInput("source", name, f"is not registered by {point.value}", "decorate its lister with @source(name, licence)")
    if name not in _SOURCES:
        near = get_close_matches(name, names(), 1)
        raise BadInput("source", name, "is not known", f"did you mean {near[0]}?" if near else f"use one of {', '.join(names())}")
    return _SOURCES[name]


def _load() -> None:
    for module in _MODULES:
        import_module(f"bfs_platform.data.source.{module}")
