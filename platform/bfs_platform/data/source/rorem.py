"""RORem's layout: `source/ mask/ GT/` and `meta.json`, a list of relative paths. The tabletop world is written in it too.

Of our own: `effect`, `caption`, `score`, and, for an entry without `mask`, `box`, [x0, y0, x1, y1] in pixels of the source.
"""

import codecs
import io
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import ijson

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, manifest_of, source
from bfs_platform.data.source.captions import decoded
from bfs_platform.data.source.files import Debris, composed, is_debris, stored
from bfs_platform.storage.manifests import sha256
from bfs_platform.storage.path import Location

META = "meta.json"
ROLES = {"source": "composite", "GT": "background", "mask": "object_mask", "effect": "effect_mask"}
REQUIRED = ("source", "GT")

# README of leeruibin/RORem says Apache-2.0 without a licence file; parts come from RORD (AI Hub terms) and MuLAn (CC-BY-NC-SA-4.0).
RESEARCH = Licence("research-only", False, "RORem: parts under AI Hub terms and CC-BY-NC-SA-4.0")


@source("rorem", RESEARCH)
@source("tabletop", Licence("CC0-1.0", True, "rendered by this project"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List a RORem folder in the order of its meta.json.

    Raises `BadInput` when meta.json is absent or not a list, and when it is not the one in the folder's manifest.
    """
    manifest = manifest_of(root)
    hashes = {composed(entry["path"]): entry["sha256"] for entry in manifest["files"]} if manifest else None
    if hashes is not None and (root / META).is_file() and hashes.get(META) != sha256(root / META):
        rule = f"is not the one in the folder's {integrity.MANIFEST}: damaged, or changed afterwards"
        raise IntegrityError("input", root / META, rule, "restore it or make the folder again")
    for position, entry in enumerate(read_meta(root / META)):
        debris = debris_in(entry)
        yield debris or stored(row_of(entry, position, hashes), root)


def read_meta(path: Location) -> Iterator[Any]:
    """The entries of a meta.json, which may be larger than memory. Raises `BadInput` where it is not a list of records."""
    if not path.is_file():
        raise BadInput("input", path.parent, f"has no {META}", "point to a folder in RORem's layout (source/ mask/ GT/ meta.json)")
    empty, file = True, cast(BinaryIO, path.open("rb"))
    with file:
        mark = file.read(len(codecs.BOM_UTF8))
        file.seek(len(mark) if mark == codecs.BOM_UTF8 else 0)
        wide = mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            # What PowerShell writes is read as a whole: nobody writes large lists so.
            for entry in ijson.items(io.BytesIO(decoded(file.read()).encode()) if wide else file, "item", use_float=True):
                empty = False
                yield entry
        except UnicodeError as error:
            raise BadInput("input", path, f"is not text in UTF-8 or UTF-16 ({error})", "save it as UTF-8") from None
        except ijson.JSONError as error:
            what = str(error).splitlines()[0]
            raise BadInput("input", path, f"is not readable JSON ({what})", "restore it") from None
    if empty:
        raise BadInput("input", path, "is not a list of records", 'it must read [{"source": …, "mask": …, "GT": …}, …]')


def debris_in(entry: Any) -> Debris | None:
    """The hidden file, or the file system's own, that an entry was made of: lists are often written from what a folder holds."""
    paths = [entry.get(key) for key in ROLES] if isinstance(entry, Mapping) else []
    return next((Debris(path) for path in paths if isinstance(path, str) and is_debris(path)), None)


def row_of(entry: Any, position: int, hashes: Mapping[str, str] | None = None) -> Row:
    """One entry of meta.json as a row. A faulty entry gives a row with its `problem`.

    `hashes` are those of the folder's manifest, where it has one: a picture that it does not list is none of this source.
    """
    place = f"entry {position} of {META}"
    box = _box(entry.get("box")) if isinstance(entry, Mapping) and entry.get("mask") is None else None
    required = REQUIRED if box else (*REQUIRED, "mask")
    if not isinstance(entry, Mapping) or any(not isinstance(entry.get(key), str) for key in required):
        return Row(f"entry-{position}", problem=f"{place} lacks one of source, mask (or box), GT")
    try:
        name, score = record_id(entry["source"]), entry.get("score")
        score = float(score) if isinstance(score, int | float) else None
    except (ValueError, OverflowError) as error:
        return Row(f"entry-{position}", problem=f"{place} has no usable source or score ({error})")
    paths = {role: entry[key] for key, role in ROLES.items() if isinstance(entry.get(key), str)}
    unlisted = [path for path in paths.values() if hashes is not None and composed(path) not in hashes]
    if unlisted:
        return Row(name, problem=f"{unlisted[0]} is not in the folder's {integrity.MANIFEST}")
    parts = {role: Part(path, sha256=hashes[composed(path)] if hashes else None) for role, path in paths.items()}
    return Row(name, str(entry.get("caption") or ""), parts, score, box)


def _box(value: Any) -> tuple[int, int, int, int] | None:
    """Four whole numbers as a box, anything else as none."""
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) is int and abs(side) < 2**31 for side in value):
        return None
    return value[0], value[1], value[2], value[3]


def record_id(path: str) -> str:
    """`source/a/7.png` → `a/7`: the path inside its folder, without suffix."""
    inside = PurePosixPath(path)
    inside = inside.relative_to("source") if inside.parts[:1] == ("source",) else inside
    return inside.with_suffix("").as_posix()
