"""Checkpoints of a run: a directory is whole, with a manifest written last, or it does not count.

Ray Train registers a report only at its next poll, two seconds later, so the resume point is decided here, by the
newest manifest whose files all have their sha256. A damaged checkpoint is set aside and the one before it is used.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import IntegrityError

log = logging.getLogger(__name__)

KIND = "checkpoint"
_FOLDER = "checkpoints"


def path_of(output: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return output / _FOLDER / f"step-{step:08d}"


def staging_of(output: Path, step: int) -> Path:
    """Where it is written before it is committed: the same path on every rank."""
    return output / _FOLDER / f".step-{step:08d}.partial"


def clear(staging: Path) -> None:
    """Remove what a killed run left, and make the directory. Rank 0 calls it before the others write."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)


def commit(output: Path, step: int, body: dict[str, Any], keep: int) -> Path:
    """Commit the staging directory, then drop all but the newest `keep`. Rank 0 calls it after the others have written."""
    final = path_of(output, step)
    if final.exists():
        shutil.rmtree(final)
    manifest = integrity.commit(staging_of(output, step), final, KIND, {"step": step, **body})
    for old in committed(output)[keep:]:
        shutil.rmtree(old)
    return manifest


def committed(output: Path) -> list[Path]:
    """Directories with a manifest, newest first."""
    found = [p for p in (output / _FOLDER).glob("step-*") if (p / integrity.MANIFEST).exists()]
    return sorted(found, reverse=True)


def newest(output: Path, fit: dict[str, Any]) -> Path | None:
    """The newest checkpoint that is undamaged, or None.

    Args: `fit` holds entries of the body that must agree (specification, world size).
    Raises: `IntegrityError` when a whole checkpoint belongs to another specification.
    """
    for directory in committed(output):
        try:
            body = integrity.verify(directory, KIND)["body"]
        except IntegrityError as error:
            aside = directory.with_name(f"damaged-{directory.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(directory, aside)
            log.warning("%s Set aside as %s; the checkpoint before it is used.", error, aside.name)
            continue
        for key, value in fit.items():
            if body.get(key) != value:
                raise IntegrityError(
                    "output", output, f"holds a run with another {key}", "choose another output, or repeat the recipe and settings"
                )
        return directory
    return None
