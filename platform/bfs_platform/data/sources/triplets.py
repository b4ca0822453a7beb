"""Any triplets: a folder of `composite/ background/ mask/`, or Parquet files with columns of those names."""

import json
from collections.abc import Iterator
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.columns import column_names, light_rows
from bfs_platform.data.record import Part, Row
from bfs_platform.data.sources.base import Licence, all_below, files_below, relative, source
from bfs_platform.storage.path import Location

UNSTATED = Licence("unstated", False, "the folder says nothing")
ROLES = {"composite": "composite", "background": "background", "mask": "object_mask", "effect": "effect_mask", "foreground": "foreground"}
REQUIRED = ("composite", "mask")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CAPTIONS = "captions.json"


@source("triplets", UNSTATED)
def rows(root: Location) -> Iterator[Row]:
    """List a folder: one record per file in composite/, with the files of the same stem beside it. Captions come from
    `captions.json`, {id: caption}. `background/`, `effect/` and `foreground/` may be absent."""
    for folder in REQUIRED:
        if not (root / folder).is_dir():
            raise BadInput("input", root, f"has no folder {folder}/", "a triplet folder holds composite/ background/ mask/")
    captions = _captions(root / CAPTIONS)
    by_role = {role: _pictures(root / folder) for folder, role in ROLES.items()}
    for record_id in sorted(by_role["composite"]):
        parts = {role: Part(relative(found[record_id], root)) for role, found in by_role.items() if record_id in found}
        yield Row(record_id, captions.get(record_id, ""), parts)


@source("triplets_parquet", UNSTATED)
def parquet_rows(root: Location) -> Iterator[Row]:
    """List Parquet files with the columns composite, mask and, if there are any, background, effect, foreground, id, caption."""
    for path in files_below(root, ".parquet"):
        name = relative(path, root)
        names = column_names(path)
        light = light_rows(path, [c for c in ("id", "caption") if c in names] or names[:1])
        if not set(REQUIRED) <= set(names):
            raise BadInput("input", path, f"has columns {', '.join(names)}", f"it needs at least {', '.join(REQUIRED)}")
        for number, values in enumerate(light):
            parts = {role: Part(name, container="parquet", row=number, column=c) for c, role in ROLES.items() if c in names}
            yield Row(str(values.get("id") or f"{name}:{number}"), str(values.get("caption") or ""), parts)


def _pictures(folder: Location) -> dict[str, Any]:
    if not folder.is_dir():
        return {}
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in all_below(folder) if p.suffix.lower() in SUFFIXES}


def _captions(path: Location) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        captions = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadInput("input", path, f"is not readable JSON ({error})", "it must read {id: caption}") from None
    if not isinstance(captions, dict):
        raise BadInput("input", path, "is not an object", "it must read {id: caption}")
    return {str(key): str(value) for key, value in captions.items()}
