"""RORem as it is published: tar parts, each with folders of `source/ mask/ GT/ meta.json`. Never unpacked to disk."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import source
from bfs_platform.data.source.files import Debris, composed, files_below, is_debris, relative
from bfs_platform.data.source.rorem import META, RESEARCH, debris_in, row_of
from bfs_platform.storage.archive import Member, members
from bfs_platform.storage.path import Location

SUFFIXES = (".tar", ".tar.gz", ".tgz")


@source("rorem_tar", RESEARCH)
def rows(root: Location) -> Iterator[Row | Debris]:
    """List one tar, or all tars of a folder, part by part. Each is streamed through once; pictures are found again by offset.

    Raises `BadInput` for a tar that is damaged, cut off, or holds no meta.json.
    """
    files, debris = files_below(root, *SUFFIXES)
    yield from debris
    for path in files:
        yield from _rows_of(path, relative(path, root))


def _rows_of(path: Location, name: str) -> Iterator[Row | Debris]:
    found, metas, debris = _index(path)
    yield from debris
    if not metas:
        raise BadInput("input", path, f"holds no {META}", "point to RORem's tar parts as they were published")
    for folder, entries in metas:
        for position, entry in enumerate(entries):
            yield debris_in(entry) or _located(row_of(entry, position), name, folder, found)


def _index(path: Location) -> tuple[dict[str, Member], list[tuple[str, list[Any]]], list[Debris]]:
    """Members by name, (folder, entries) of each meta.json, and what is nobody's file, from one pass over the archive."""
    found: dict[str, Member] = {}
    metas: list[tuple[str, list[Any]]] = []
    debris: list[Debris] = []
    try:
        for member, file in members(path):
            if is_debris(member.name):
                debris.append(Debris(f"{path.name}:{member.name}"))
                continue
            found[composed(member.name)] = member
            if PurePosixPath(member.name).name == META:
                entries = json.loads(file.read())
                if not isinstance(entries, list):
                    raise ValueError(f"{member.name} is not a list of records")
                metas.append((PurePosixPath(member.name).parent.as_posix(), entries))
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        raise BadInput("input", path, f"is damaged or cut off after {len(found)} files ({error})", "download it again") from None
    return found, metas, debris


def _located(row: Row, archive: str, folder: str, found: dict[str, Member]) -> Row:
    """`row` with its parts as pieces of the archive, and an id that is unique over all archives."""
    prefix = "" if folder == "." else f"{folder}/"
    record_id = f"{archive}:{prefix}{row.id}"
    absent = [part.path for part in row.parts.values() if composed(prefix + part.path) not in found]
    if absent:
        return replace(row, id=record_id, parts={}, problem=f"{archive} does not hold {prefix}{absent[0]}")
    pieces = {role: found[composed(prefix + part.path)] for role, part in row.parts.items()}
    parts = {role: Part(archive, container="tar", offset=m.offset, size=m.size) for role, m in pieces.items()}
    return replace(row, id=record_id, parts=parts)
