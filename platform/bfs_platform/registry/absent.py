"""What is wrong with a registry that lacks something: no store at all, a store that was moved, or a file that was lost."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.registry.store import Reference
from bfs_platform.tracking.uri import database_path


def check_known(uri: str, reference: Reference) -> None:
    """Raises: `BadInput` when `uri` is a database that does not exist: to ask it for a model would create it, empty."""
    path = database_path(uri)
    if path is not None and not path.exists():
        remedy = "set MLFLOW_TRACKING_URI to the store that it was registered in, or register it first"
        raise BadInput("model", reference, f"cannot be looked up: there is no database at {path}", remedy)


@contextmanager
def explaining(uri: str, root: str, path: str, what: str) -> Iterator[None]:
    """Tell what a failed download of `path` below the artifact location `root` of the version `what` means.

    Raises: `IntegrityError` when the files lie elsewhere or one is missing; an outage passes through.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (OSError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code != "RESOURCE_DOES_NOT_EXIST" and not _is_gone(root, path):
            raise
        if type(error).__module__ not in ("builtins", MlflowException.__module__):  # of the network
            raise
        raise _lost(uri, root, path, what) from None


def _lost(uri: str, root: str, path: str, what: str) -> IntegrityError:
    folder, database = _local(root), database_path(uri)
    if folder is None or folder.is_dir() or database is None:
        remedy = "bring it back from a backup, or register the model in another store"
        return IntegrityError("model", what, f"lacks the file {path} in {root}", remedy)
    moved = _moved(folder, database.parent)
    if moved is None:
        remedy = "bring it back from a backup, or register the model in another store"
        return IntegrityError("model", what, f"has no files any more: {folder} is gone", remedy)
    old, new = moved
    parent, link = shlex.quote(str(old.parent)), f"ln -s {shlex.quote(str(new))} {shlex.quote(str(old))}"
    remedy = f"run `mkdir -p {parent} && {link}`, or move it back"
    return IntegrityError("model", what, f"has its files at {folder}, but the store was moved", remedy)


def _moved(folder: Path, store: Path) -> tuple[Path, Path] | None:
    """Where the artifacts of a store were and where they are now, if the files of `folder` lie below `store`."""
    for parent in folder.parents:
        if parent.name == "artifacts" and (store / "artifacts" / folder.relative_to(parent)).is_dir():
            return parent, store / "artifacts"
    return None


def _is_gone(root: str, path: str) -> bool:
    folder = _local(root)
    return folder is not None and not (folder / path).exists()


def _local(root: str) -> Path | None:
    parts = urlsplit(root)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None
