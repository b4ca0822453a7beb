"""RORem as it is published: tar parts, each with folders of `source/ mask/ GT/ meta.json`. Never unpacked to disk."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.archive import Member, members
from bfs_platform.data.record import Part, Row
from bfs_platform.data.sources.base import files_below, relative, source
from bfs_platform.data.sources.rorem import META, RESEARCH, row_of
from bfs_platform.storage.path import Location

SUFFIXES = (".tar", ".tar.gz", ".tgz")


@source("rorem_tar", RESEARCH)
def rows(root: Location) -> Iterator[Row]:
    """List one tar, or all tars of a folder, part by part. Each is streamed through once; pictures are found again by offset.

    Raises `BadInput` for a tar that is damaged, cut off, or holds no meta.json.
    """
    for path in files_below(root, *SUFFIXES):
        yield from _rows_of(path, relative(path, root))


def _rows_of(path: Location, name: str) -> Iterator[Row]:
    found, metas = _index(path)
    if not metas:
        raise BadInput("input", path, f"holds no {META}", "point to RORem's tar parts as they were published")
    for folder, entries in metas:
        for position, entry in enumerate(entries):
            row = row_of(entry, position)
            yield _located(row, name, folder, found)


def _index(path: Location) -> tuple[dict[str, Member], list[tuple[str, list[Any]]]]:
    """Members by name, and (folder, entries) of each meta.json, from one pass over the archive."""
    found: dict[str, Member] = {}
    metas: list[tuple[str, list[Any]]] = []
    try:
        for member, file in members(path):
            found[member.name] = member
            if PurePosixPath(member.name).name == META:
                entries = json.loads(file.read())
                if not isinstance(entries, list):
                    raise ValueError(f"{member.name} is not a list of records")
                metas.append((PurePosixPath(member.name).parent.as_posix(), entries))
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        raise BadInput("input", path, f"is damaged or cut off after {len(found)} files ({error})", "download it again") from None
    return found, metas


def _located(row: Row, archive: str, folder: str, found: dict[str, Member]) -> Row:
    """`row` with its parts as pieces of the archive, and an id that is unique over all archives."""
    prefix = "" if folder == "." else f"{folder}/"
    record_id = f"{archive}:{prefix}{row.id}"
    absent = [part.path for part in row.parts.values() if prefix + part.path not in found]
    if absent:
        return replace(row, id=record_id, parts={}, problem=f"{archive} does not hold {prefix}{absent[0]}")
    pieces = {role: found[prefix + part.path] for role, part in row.parts.items()}
    parts = {role: Part(archive, container="tar", offset=m.offset, size=m.size) for role, m in pieces.items()}
    return replace(row, id=record_id, parts=parts)
