"""Any triplets, in folders, Parquet or tars: with a mask (`composite/ background/ mask/`), or with the layer itself.

Layered triplets are a composite, a clean background, the RGBA layer that lies between them with its effects, and a caption. The layer
is given, so nothing is cut out and no shadow is added: stage 1 takes it as it is. A mask of the object alone may be there; without one,
object and effects are told apart as `bfs_model.document.effects` does.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.captions import TEXTS, decoded
from bfs_platform.data.source.files import Debris, all_below, composed, files_below, is_debris, relative, sorted_out
from bfs_platform.data.source.rorem_tar import SUFFIXES as TARS
from bfs_platform.storage.archive import members
from bfs_platform.storage.columns import column_names, light_rows, row_id
from bfs_platform.storage.path import Location

UNSTATED = Licence("unstated", False, "the folder says nothing")
ROLES = {"composite": "composite", "background": "background", "mask": "object_mask", "effect": "effect_mask", "foreground": "foreground"}
REQUIRED = ("composite", "mask")
LAYERED = {"composite": "composite", "background": "background", "foreground": "foreground", "mask": "object_mask"}
LAYERED_REQUIRED = ("foreground", "background")
_LAYERED_FORM = "a layered folder holds foreground/ background/ and, if there are any, composite/ mask/"
# Captions in a tar: the text itself, or in JSON under one of the names of a caption.
TEXT_FILES = ("txt", "caption", "caption.txt", "json")
_TEXT_BYTES = 2**20
# Pictures in the formats of the second line cannot be read: they are listed all the same, so that they become rejects with a reason.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff"}) | frozenset(
    {".bmp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".exr", ".tga", ".ppm", ".pgm", ".npy"}
)


@source("triplets", UNSTATED)
def rows(root: Location) -> Iterator[Row | Debris]:
    """List a folder: one record per file in composite/, with the files of the same stem beside it; of several, that of the same
    suffix. `background/`, `effect/` and `foreground/` may be absent."""
    yield from _folder_rows(root, ROLES, REQUIRED, "a triplet folder holds composite/ background/ mask/")


@source("triplets_parquet", UNSTATED)
def parquet_rows(root: Location) -> Iterator[Row | Debris]:
    """List Parquet files with the columns composite, mask and, if there are any, background, effect, foreground, id, caption."""
    yield from _table_rows(root, ROLES, REQUIRED)


@source("layered", UNSTATED)
def layered_rows(root: Location) -> Iterator[Row | Debris]:
    """List a folder: one record per file in foreground/, with those of the same stem in background/, composite/ and mask/."""
    for item in _folder_rows(root, LAYERED, LAYERED_REQUIRED, _LAYERED_FORM):
        yield _whole(item)


@source("layered_parquet", UNSTATED)
def layered_parquet_rows(root: Location) -> Iterator[Row | Debris]:
    """List Parquet files with the columns foreground, background and, if there are any, composite, mask, id, caption."""
    for item in _table_rows(root, LAYERED, LAYERED_REQUIRED):
        yield _whole(item)


@source("layered_webdataset", UNSTATED)
def tar_rows(root: Location) -> Iterator[Row | Debris]:
    """List one tar, or all tars of a folder: neighbours `KEY.foreground.png`, `KEY.background.jpg`, … `KEY.txt` are one sample.

    Raises `BadInput` for a tar that is damaged, cut off, or holds no such sample.
    """
    files, debris = files_below(root, *TARS)
    yield from debris
    for path in files:
        yield from _samples(path, relative(path, root))


def _folder_rows(root: Location, roles: Mapping[str, str], required: Sequence[str], remedy: str) -> Iterator[Row | Debris]:
    """The records of a folder with a folder per role (`roles`: folder → role); the first of `required` says which there are.

    Raises `BadInput` with `remedy` when one of the required folders is absent.
    """
    for folder in required:
        if not (root / folder).is_dir():
            raise BadInput("input", root, f"has no folder {folder}/", remedy)
    by_role: dict[str, dict[str, list[Any]]] = {}
    for folder, role in roles.items():
        by_role[role] = {}
        kept, debris = sorted_out(all_below(root / folder), root) if (root / folder).is_dir() else ([], [])
        yield from debris
        for path in kept:
            if path.suffix.lower() in SUFFIXES:
                stem = path.relative_to(root / folder).with_suffix("").as_posix()
                by_role[role].setdefault(composed(stem), []).append(path)
    leading = roles[required[0]]
    for stem, pictures in sorted(by_role[leading].items()):
        for picture in pictures:
            yield _row(stem if len(pictures) == 1 else stem + picture.suffix, picture, stem, leading, by_role, root)


def _table_rows(root: Location, roles: Mapping[str, str], required: Sequence[str]) -> Iterator[Row | Debris]:
    """The records of Parquet files with a column per role (`roles`: column → role). Raises `BadInput` when one lacks a required one."""
    files, debris = files_below(root, ".parquet")
    yield from debris
    for path in files:
        name = relative(path, root)
        names = column_names(path)
        if not set(required) <= set(names):
            raise BadInput("input", path, f"has columns {', '.join(names)}", f"it needs at least {', '.join(required)}")
        for number, values in enumerate(light_rows(path, ["id", "caption"])):
            parts = {role: Part(name, container="parquet", row=number, column=c) for c, role in roles.items() if c in names}
            yield Row(row_id(values.get("id"), name, number), str(values.get("caption") or ""), parts)


def _row(record_id: str, picture: Any, stem: str, leading: str, by_role: dict[str, dict[str, list[Any]]], root: Location) -> Row:
    row = Row(record_id, "", {leading: Part(relative(picture, root))})
    for role, found in by_role.items():
        files = found.get(stem, []) if role != leading else []
        alike = [path for path in files if path.suffix.lower() == picture.suffix.lower()]
        if len(files) > 1 and len(alike) != 1:
            return Row(record_id, problem=f"{' and '.join(relative(path, root) for path in files[:2])} are both its {role}")
        if files:
            row = replace(row, parts={**row.parts, role: Part(relative(alike[0] if alike else files[0], root))})
    return row


@dataclass(slots=True)
class _Sample:
    """What one key of a tar has shown so far."""

    key: str
    caption: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    problem: str | None = None

    def row(self, archive: str) -> Row:
        absent = [column for column in LAYERED_REQUIRED if LAYERED[column] not in self.parts]
        problem = self.problem or (f"{self.key} has no {absent[0]}" if absent else None)
        return Row(f"{archive}:{self.key}", self.caption, {} if problem else self.parts, problem=problem, whole_layer=True)


def _samples(path: Location, name: str) -> Iterator[Row | Debris]:
    sample, num_pictures = _Sample(""), 0
    try:
        for member, file in members(path):
            if is_debris(member.name):
                yield Debris(f"{path.name}:{member.name}")
                continue
            key, extension = _split(member.name)
            if key != sample.key:
                if sample.parts:
                    yield sample.row(name)
                sample = _Sample(key)
            role, _, suffix = extension.rpartition(".")
            if role in LAYERED and f".{suffix}" in SUFFIXES:
                sample.parts[LAYERED[role]] = Part(name, container="tar", offset=member.offset, size=member.size)
                num_pictures += 1
            elif extension in TEXT_FILES and member.size <= _TEXT_BYTES:
                _read_text(sample, member.name, file.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BadInput("input", path, f"is damaged or cut off ({error})", "download it again") from None
    if not num_pictures:
        raise BadInput("input", path, "holds no KEY.foreground.png", "name its files KEY.foreground.png, KEY.background.png, KEY.txt")
    if sample.parts:
        yield sample.row(name)


def _split(name: str) -> tuple[str, str]:
    """`a/7.foreground.png` → `a/7`, `foreground.png`: the key ends at the first point of the file's name, as WebDataset has it."""
    path = PurePosixPath(name)
    stem, _, extension = path.name.partition(".")
    return (path.parent / stem).as_posix(), extension.lower()


def _read_text(sample: _Sample, name: str, data: bytes) -> None:
    try:
        text = decoded(data)
        value: Any = json.loads(text) if name.lower().endswith(".json") else text
    except ValueError as error:
        sample.problem = f"{name} is not readable ({error})"
        return
    if isinstance(value, dict):
        value = next((value[key] for key in TEXTS if isinstance(value.get(key), str)), "")
    if isinstance(value, str) and value.strip():
        sample.caption = value


def _whole(item: Row | Debris) -> Row | Debris:
    return replace(item, whole_layer=True) if isinstance(item, Row) else item
