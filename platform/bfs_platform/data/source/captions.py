"""Captions from files beside any source, for records that bring none: `captions.json`, `.jsonl`, `.csv` or `.tsv`; or a text each.

A text is called as the record's picture, `7.txt` for `7.png`, and lies beside it, or in a folder `caption/` in place of the picture's.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.files import all_below, composed
from bfs_platform.storage.path import Location

NAMES = ("captions.json", "captions.jsonl", "captions.csv", "captions.tsv")
KEYS = ("id", "file_name", "filename", "file", "image", "path", "name", "source")
TEXT_FOLDERS = ("caption", "captions")
TEXT_BYTES = 64 * 2**10
TEXTS = ("caption", "text", "prompt")
_FORM = '{id: caption}, or records with the columns "id" (or "file_name") and "caption" (or "text")'
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_captions(folder: Location) -> dict[str, str]:
    """Captions by id or by file name, from the first of `NAMES` in `folder`; none where there is no such file. Raises `BadInput`."""
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        pairs = list(_pairs(path))
    except UnicodeDecodeError as error:
        raise BadInput("input", path, f"is not text in UTF-8 or UTF-16 ({error.reason})", "save it as UTF-8") from None
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("input", path, f"is not readable JSON ({error})", f"it must read {_FORM}") from None
    return {composed(str(key)): str(text) for key, text in pairs if key is not None and text is not None}


def read_texts(folder: Location) -> dict[str, str]:
    """The paths of all texts below `folder`, without suffix, and as the file system has them. Empty where `folder` is one file."""
    if not folder.is_dir():
        return {}
    found = (path.relative_to(folder) for path in all_below(folder) if path.name.lower().endswith(".txt"))
    return {composed(name.with_suffix("").as_posix()): name.as_posix() for name in found}


def text_of(row: Row, texts: Mapping[str, str], folder: Location) -> Row:
    """`row` with the caption in the text of its own, if it has one and no caption yet; a faulty one where that cannot be read."""
    part = _picture(row)
    if row.caption.strip() or not texts or part is None:
        return row
    place = PurePosixPath(composed(part.path)).with_suffix("")
    inside = [] if len(place.parts) < 2 else [PurePosixPath(name, *place.parts[1:]) for name in TEXT_FOLDERS]
    path = next((texts[key.as_posix()] for key in (place, *inside) if key.as_posix() in texts), None)
    if path is None:
        return row
    try:
        data = (folder / path).read_bytes()
        if len(data) > TEXT_BYTES:
            return replace(row, problem=row.problem or f"{path} is larger than {TEXT_BYTES // 1024} KiB")
        return replace(row, caption=decoded(data))
    except (OSError, UnicodeDecodeError) as error:
        return replace(row, problem=row.problem or f"{path} is not readable ({getattr(error, 'reason', None) or error})")


def captioned(row: Row, captions: Mapping[str, str]) -> Row:
    """`row` with the caption that the file has for its id, for its picture's path or name, with suffix or without."""
    if row.caption.strip() or not captions:
        return row
    for key in _keys(row):
        if captions.get(key, "").strip():
            return replace(row, caption=captions[key])
    return row


def decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 as programs on Windows write it, by its byte order mark. Raises `UnicodeDecodeError`."""
    return data.decode(next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8"))


def _keys(row: Row) -> Iterator[str]:
    yield composed(row.id)
    yield composed(row.id).partition("#")[0]  # without the row that it was in
    part = _picture(row)
    if part is not None:
        path = PurePosixPath(composed(part.path))
        inside = PurePosixPath(*path.parts[1:])
        for place in (path, inside):
            yield place.as_posix()
            yield place.with_suffix("").as_posix() if place.name else ""
        yield path.name


def _picture(row: Row) -> Part | None:
    """The picture that names a record, where that is a file: its composite, or the layer of a record without one."""
    part = row.parts.get("composite") or row.parts.get("foreground")
    return part if part is not None and part.container == "file" else None


def _pairs(path: Location) -> Iterator[tuple[Any, Any]]:
    text = decoded(path.read_bytes())
    if path.suffix == ".json":
        value = json.loads(text)
        if isinstance(value, dict):
            yield from value.items()
            return
        records = value if isinstance(value, list) else None
    elif path.suffix == ".jsonl":
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        records = _table(text, tabs=path.suffix == ".tsv")
    if records is None or not all(isinstance(record, dict) for record in records):
        raise BadInput("input", path, "is not an object", f"it must read {_FORM}")
    for record in records:
        key, caption = (next((name for name in names if name in record), None) for names in (KEYS, TEXTS))
        if key is None or caption is None:
            found = ", ".join(str(name) for name in list(record)[:8])
            raise BadInput("input", path, f"has a record with the columns {found}", f"it must read {_FORM}")
        yield record[key], record[caption]


def _table(text: str, tabs: bool) -> list[dict[str, Any]]:
    """Rows by the names in the first line. Spreadsheets of half the world separate by semicolons."""
    head = text.partition("\n")[0]
    mark = "\t" if tabs else max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    return list(rows)
