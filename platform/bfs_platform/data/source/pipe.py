"""PIPE (Paint by Inpaint): photographs, the same with one object painted over, and, published apart, the masks of the objects.

Columns as on the hub: `paint-by-inpaint/PIPE` has source_img (without), target_img (with), Instruction_VLM-LLM, Instruction_Class,
Instruction_Ref_Dataset, object_location, target_img_dataset, img_id, ann_id; `paint-by-inpaint/PIPE_Masks` has mask and the
same three keys. Put both below one folder.
"""

import re
from collections.abc import Iterator
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import Debris, files_below, relative
from bfs_platform.storage.columns import column_names, light_rows, row_id
from bfs_platform.storage.path import Location

KEYS = ("target_img_dataset", "img_id", "ann_id")
INSTRUCTIONS = ("Instruction_VLM-LLM", "Instruction_Ref_Dataset", "Instruction_Class")
COLUMNS = {"composite": "target_img", "background": "source_img"}
_COMMAND = re.compile(r"^\s*(please\s+)?(add|insert|place|put|include|draw)\s+", re.IGNORECASE)


@source("pipe", Licence("CC-BY-4.0", True, "pictures from COCO, LVIS and Open Images keep their own terms"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List the training pairs; an instruction without its command ("add a spoon") is the caption ("a spoon")."""
    files, debris = files_below(root, ".parquet")
    yield from debris
    pairs, masks = _told_apart(files, root)
    places = {key: part for path in masks for key, part in _masks(path, relative(path, root))}
    for path in pairs:
        name = relative(path, root)
        for number, values in enumerate(light_rows(path, [*KEYS, *INSTRUCTIONS])):
            key = _key(values)
            parts = {role: Part(name, container="parquet", row=number, column=column) for role, column in COLUMNS.items()}
            record_id = row_id("/".join(key), name, number)
            if key in places:
                yield Row(record_id, _caption(values), parts | {"object_mask": places[key]})
            else:
                yield Row(record_id, problem=f"PIPE_Masks has no mask of {'/'.join(key)}")


def _told_apart(files: list[Any], root: Location) -> tuple[list[Any], list[Any]]:
    """Files of pairs and files of masks, told apart by their columns; those of the test split are left out."""
    pairs, masks = [], []
    for path in files:
        if path.name.startswith("test") or path.parent.name == "test":
            continue
        names = set(column_names(path))
        if {*COLUMNS.values(), *KEYS} <= names:
            pairs.append(path)
        elif {"mask", *KEYS} <= names:
            masks.append(path)
    if not pairs or not masks:
        absent = "no pairs (source_img, target_img)" if not pairs else "no masks (PIPE_Masks)"
        raise BadInput("input", root, f"holds {absent}", "put PIPE and PIPE_Masks below one folder")
    return pairs, masks


def _masks(path: Any, name: str) -> Iterator[tuple[tuple[str, ...], Part]]:
    for number, values in enumerate(light_rows(path, list(KEYS))):
        yield _key(values), Part(name, container="parquet", row=number, column="mask")


def _key(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(values.get(key)) for key in KEYS)


def _caption(values: dict[str, Any]) -> str:
    instruction = next((str(values[name]) for name in INSTRUCTIONS if values.get(name)), "")
    return _COMMAND.sub("", instruction).strip().rstrip(".")
