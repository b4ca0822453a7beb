"""AnyInsertion (Insert Anything): Parquet with a reference and a target picture, each with its mask.

Layout: parquet_to_image.py of song-wensong/insert-anything. The target shows the object; there is no picture without it,
so a build needs a background provider.
"""

from collections.abc import Iterator

from bfs_platform.data.columns import light_rows
from bfs_platform.data.record import Part, Row
from bfs_platform.data.sources.base import Licence, files_below, relative, source
from bfs_platform.storage.path import Location

COLUMNS = {"composite": "tar_image", "object_mask": "tar_mask"}


@source("anyinsertion", Licence("unstated", False, "no licence found in the published card"))
def rows(root: Location) -> Iterator[Row]:
    """List the training split; the label (`main_label`, in the first version `label`) is the caption."""
    for path in files_below(root, ".parquet"):
        name = relative(path, root)
        for number, values in enumerate(light_rows(path, ["id", "split", "main_label", "label"])):
            if str(values.get("split") or "train").lower() != "train":
                continue
            parts = {role: Part(name, container="parquet", row=number, column=column) for role, column in COLUMNS.items()}
            caption = str(values.get("main_label") or values.get("label") or "")
            yield Row(str(values.get("id") or f"{name}:{number}"), caption, parts)
