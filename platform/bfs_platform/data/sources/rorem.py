"""RORem's layout: `source/ mask/ GT/` and `meta.json`, a list of relative paths. The tabletop world is written in it too."""

import codecs
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import ijson

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.sources.base import Licence, manifest_of, source
from bfs_platform.storage.path import Location

META = "meta.json"
ROLES = {"source": "composite", "GT": "background", "mask": "object_mask", "effect": "effect_mask"}
REQUIRED = ("source", "mask", "GT")

# README of leeruibin/RORem says Apache-2.0 without a licence file; parts come from RORD (AI Hub terms) and MuLAn (CC-BY-NC-SA-4.0).
RESEARCH = Licence("research-only", False, "RORem: parts under AI Hub terms and CC-BY-NC-SA-4.0")


@source("rorem", RESEARCH)
@source("tabletop", Licence("CC0-1.0", True, "rendered by this project"))
def rows(root: Location) -> Iterator[Row]:
    """List a RORem folder in the order of its meta.json. Raises `BadInput` when meta.json is absent or not a list."""
    manifest = manifest_of(root)
    hashes = {entry["path"]: entry["sha256"] for entry in manifest["files"]} if manifest else {}
    for position, entry in enumerate(read_meta(root / META)):
        yield row_of(entry, position, hashes)


def read_meta(path: Location) -> Iterator[Any]:
    """The entries of a meta.json, which may be larger than memory. Raises `BadInput` where it is not a list of records."""
    if not path.is_file():
        raise BadInput("input", path.parent, f"has no {META}", "point to a folder in RORem's layout (source/ mask/ GT/ meta.json)")
    empty, file = True, cast(BinaryIO, path.open("rb"))
    with file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        try:
            for entry in ijson.items(file, "item", use_float=True):
                empty = False
                yield entry
        except ijson.JSONError as error:
            what = str(error).splitlines()[0]
            raise BadInput("input", path, f"is not readable JSON ({what})", "restore it") from None
    if empty:
        raise BadInput("input", path, "is not a list of records", 'it must read [{"source": …, "mask": …, "GT": …}, …]')


def row_of(entry: Any, position: int, hashes: Mapping[str, str]) -> Row:
    """One entry of meta.json as a row. A faulty entry gives a row with its `problem`."""
    if not isinstance(entry, Mapping) or any(not isinstance(entry.get(key), str) for key in REQUIRED):
        return Row(f"entry-{position}", problem=f"entry {position} of {META} lacks one of {', '.join(REQUIRED)}")
    parts = {role: Part(entry[key], sha256=hashes.get(entry[key])) for key, role in ROLES.items() if isinstance(entry.get(key), str)}
    score = entry.get("score")
    return Row(
        id=record_id(entry["source"]),
        caption=str(entry.get("caption") or ""),
        parts=parts,
        score=float(score) if isinstance(score, int | float) else None,
    )


def record_id(path: str) -> str:
    """`source/a/7.png` → `a/7`: the path inside its folder, without suffix."""
    inside = PurePosixPath(path)
    inside = inside.relative_to("source") if inside.parts[:1] == ("source",) else inside
    return inside.with_suffix("").as_posix()
