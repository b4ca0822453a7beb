"""Parts that other packages bring: entry points of the groups `bfs.sources` and `bfs.metrics`.

Such a package states them in its own pyproject.toml, and nothing here names it:

    [project.entry-points."bfs.sources"]
    shelf = "their_package.shelf:rows"
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bfs_model.errors import BadInput

SOURCES, METRICS = "bfs.sources", "bfs.metrics"


def extensions(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name. Nothing of theirs is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def load(point: EntryPoint) -> Any:
    """What an entry point names. Raises `BadInput` when its package cannot be imported or lacks it."""
    try:
        return point.load()
    except Exception as error:  # code of others, which may fail in any way
        package = point.dist.name if point.dist else point.module
        reason = " ".join(str(error).split())[:160]
        raise BadInput(
            point.group, point.name, f"cannot be loaded ({type(error).__name__}: {reason})", f"mend or remove {package}"
        ) from error
