"""DESOBAv2: pictures with and without one object's shadow, for the shadow network.

Layout: tutorial_dataset.py of bcmi/Object-Shadow-Generation-Dataset-DESOBAv2 (`train.txt`; the full set calls it `TrainLabel.txt`).
The object is in both pictures, so a layered set needs a background provider.
"""

from collections.abc import Iterator

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.captions import decoded
from bfs_platform.data.source.files import stored
from bfs_platform.storage.path import Location

LISTS = ("train.txt", "TrainLabel.txt")
ROLES = {"composite": "shadow_imgs", "shadow_free": "shadowfree_imgs", "object_mask": "object_masks", "effect_mask": "shadow_masks"}


@source("desobav2", Licence("research-only", False, "DESOBAv2: for research; built on Open Images and DESOBA"))
def rows(root: Location) -> Iterator[Row]:
    """List the training pictures, one per line of the list: a name with or without suffix."""
    path = next((root / name for name in LISTS if (root / name).is_file()), None)
    if path is None:
        raise BadInput("input", root, f"holds no {' or '.join(LISTS)}", "point to DESOBAv2's folder")
    try:
        text = decoded(path.read_bytes())
    except UnicodeDecodeError as error:
        raise BadInput("input", path, f"is not a list in UTF-8 ({error.reason})", "restore it") from None
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        name = words[0] if "." in words[0] else f"{words[0]}.jpg"
        parts = {role: Part(f"{folder}/{name}") for role, folder in ROLES.items() if (root / folder).is_dir()}
        yield stored(Row(name.rsplit(".", 1)[0], "", parts), root)
