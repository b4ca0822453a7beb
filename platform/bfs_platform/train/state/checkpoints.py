"""Checkpoints of a run: a directory is whole, with a manifest written last, or it does not count.

Ray Train registers a report only at its next poll, two seconds later, so the resume point is decided here, by the
newest manifest whose files all have their sha256. A damaged checkpoint is set aside and the one before it is used.
"""

import logging
import os
import shutil
from collections.abc import Callable
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
    """Remove what killed runs left half-written, and make the directory. Rank 0 calls it before the others write."""
    for leftover in staging.parent.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)


def discard(staging: Path) -> None:
    """Remove a checkpoint that could not be written."""
    shutil.rmtree(staging, ignore_errors=True)


def commit(output: Path, step: int, body: dict[str, Any], keep: int) -> Path:
    """Commit the staging directory, then drop all but the newest `keep`. Rank 0 calls it after the others have written.

    Raises: `OSError` when the disk is full or fails; the checkpoints before it are untouched.
    """
    final = path_of(output, step)
    if final.exists():
        _remove(final)
    manifest = integrity.commit(staging_of(output, step), final, KIND, {"step": step, **body})
    kept = committed(output)[:keep]
    for old in final.parent.glob("step-*"):
        if old not in kept:
            _remove(old)
    return manifest


def committed(output: Path) -> list[Path]:
    """Directories with a manifest, newest first."""
    found = [p for p in (output / _FOLDER).glob("step-*") if (p / integrity.MANIFEST).exists()]
    return sorted(found, reverse=True)


def newest(output: Path, mismatch: Callable[[Path, dict[str, Any]], str]) -> Path | None:
    """The newest checkpoint that is undamaged, or None.

    Args: `mismatch` says why a checkpoint (directory, body of its manifest) does not belong to this run; empty when it does.
    Raises: `IntegrityError` when a whole checkpoint belongs to another run.
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
        reason = mismatch(directory, body)
        if reason:
            raise IntegrityError("output", output, reason, "choose another output, or repeat the recipe and settings")
        return directory
    return None


def _remove(directory: Path) -> None:
    """Delete a checkpoint, its manifest first: what is left of it when the process dies here no longer counts as one."""
    (directory / integrity.MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory)
