"""OBER (ObjectClear's training set): Parquet with input, gt, object_mask and object_effect_mask.

Layout: objectclear/dataset/ober_parquet_dataset.py of zjx0101/ObjectClear.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import Debris, files_below, relative
from bfs_platform.storage.columns import light_rows, row_id
from bfs_platform.storage.path import Location

COLUMNS = {"composite": "input", "background": "gt", "object_mask": "object_mask", "effect_mask": "object_effect_mask"}


@source("ober", Licence("S-Lab-1.0", False, "S-Lab licence: non-commercial"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List the training split. Crops of one picture are records of their own, called `subset/ID_CROP#FILE:ROW`.

    There are no captions.
    """
    files, debris = files_below(root, ".parquet")
    yield from debris
    for path in files:
        name = relative(path, root)
        for number, values in enumerate(light_rows(path, ["input.path", "subset", "split"])):
            if str(values.get("split") or "train").lower() != "train":
                continue
            stem = PurePosixPath(str((values.get("input") or {}).get("path") or "")).stem
            parts = {role: Part(name, container="parquet", row=number, column=column) for role, column in COLUMNS.items()}
            yield Row(row_id(f"{values.get('subset') or 'ober'}/{stem}", name, number), "", parts)
