"""AnyInsertion (Insert Anything): Parquet with a reference and a target picture, each with its mask.

Layout: parquet_to_image.py of song-wensong/insert-anything. The target shows the object; there is no picture without it,
so a build needs a background provider.
"""

from collections.abc import Iterator

from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import Debris, files_below, relative
from bfs_platform.storage.columns import light_rows, row_id
from bfs_platform.storage.path import Location

COLUMNS = {"composite": "tar_image", "object_mask": "tar_mask"}


@source("anyinsertion", Licence("unstated", False, "no licence found in the published card"))
def rows(root: Location) -> Iterator[Row | Debris]:
    """List the training split; the label (`main_label`, in the first version `label`) is the caption."""
    files, debris = files_below(root, ".parquet")
    yield from debris
    for path in files:
        name = relative(path, root)
        for number, values in enumerate(light_rows(path, ["id", "split", "main_label", "label"])):
            if str(values.get("split") or "train").lower() != "train":
                continue
            parts = {role: Part(name, container="parquet", row=number, column=column) for role, column in COLUMNS.items()}
            caption = str(values.get("main_label") or values.get("label") or "")
            yield Row(row_id(values.get("id"), name, number), caption, parts)
