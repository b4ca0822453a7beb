"""SAM-FB (Affordance-Aware Object Insertion): folders of `background/ foreground/ mask/ groundtruth/ prompt/`.

Layout: model/ldm/data/data_fbp/FBPDatsets.py and dataset-builder of KaKituken/affordance-aware-any. Backgrounds were inpainted
at a long side of 720 while the other files keep the original size; the builder writes no captions.
"""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from bfs_model.errors import BadInput
from bfs_platform.data.record import Part, Row
from bfs_platform.data.source.base import Licence, source
from bfs_platform.data.source.files import is_debris, relative, stored
from bfs_platform.storage.path import Location

PROMPTS = ("prompt/prompt_new.json", "prompt/prompt.json")
ROLES = {"composite": "groundtruth", "background": "background", "object_mask": "mask"}


@source("samfb", Licence("SA-1B", False, "pictures under the SA-1B research terms"))
def rows(root: Location) -> Iterator[Row]:
    """List one such folder, or all of them below `root`, in the order of their names and of their prompt files."""
    inside = sorted(p for p in root.iterdir() if p.is_dir() and not is_debris(p.name)) if root.is_dir() else []
    folders = [folder for folder in [root, *inside] if _prompts(folder) is not None]
    if not folders:
        raise BadInput("input", root, "holds no prompt/prompt.json", "point to SAM-FB's folder")
    for folder in folders:
        prefix = "" if folder == root else f"{folder.name}/"
        for name, entry in _read(_prompts(folder)).items():
            if PurePosixPath(name).is_absolute():
                yield Row(prefix + name, problem=f"{name} does not name a picture of the folder")
                continue
            parts = {role: Part(relative(folder / directory / name, root)) for role, directory in ROLES.items()}
            caption = str(entry.get("caption") or "") if isinstance(entry, dict) else ""
            yield stored(Row(prefix + name.rsplit(".", 1)[0], caption, parts, same_aspect=True), root)


def _prompts(folder: Location) -> Location | None:
    return next((folder / name for name in PROMPTS if (folder / name).is_file()), None)


def _read(path: Location | None) -> dict[str, object]:
    assert path is not None
    try:
        prompts = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadInput("input", path, f"is not readable JSON ({error})", "restore it") from None
    if not isinstance(prompts, dict):
        raise BadInput("input", path, "is not an object", "it must read {picture: {bbox, point, meta}}")
    return prompts
