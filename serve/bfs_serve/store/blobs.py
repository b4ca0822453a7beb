"""Pictures, named by the sha256 of their bytes, in a folder or an object store. Rows and handles carry the names only."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.storage.path import RemotePath, location, reachable

_NAME = re.compile(r"[0-9a-f]{64}")
_GRACE_S = 600.0  # a blob that nobody uses may be of a request that is just being taken on


def name_of(data: bytes) -> str:
    """What a blob of these bytes is called."""
    return hashlib.sha256(data).hexdigest()


class BlobLost(RuntimeError):
    """A blob that a job names is missing or damaged."""


class BlobsAway(RuntimeError):
    """The object store does not answer, for now."""


class Blobs:
    """`uri`: a folder, or `s3://bucket/prefix`. All calls block: await them on a thread, and raise `BlobsAway` while an object store is.

    Raises `BadInput` for a bad place.
    """

    def __init__(self, uri: str) -> None:
        self._place = reachable(location(uri), "blobs")
        if isinstance(self._place, Path):
            try:
                self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise BadInput("blobs", uri, f"cannot be made ({error.strerror})", "name a folder that can be written to") from None

    @property
    def is_shared_by_nodes(self) -> bool:
        """Whether it is an object store; a folder may be one that machines share, which cannot be seen."""
        return isinstance(self._place, RemotePath)

    def put(self, data: bytes) -> str:
        """Keep `data` and return its name. A blob appears whole or not at all; one that is there already counts as new, and a damaged
        one is replaced."""
        name = name_of(data)
        path = self._path(name)
        if isinstance(path, RemotePath):
            with self._reached():
                path.write_bytes(data)
            return name
        try:
            os.utime(path)
            if path.read_bytes() == data:
                return name
        except FileNotFoundError:
            pass
        path.parent.mkdir(exist_ok=True, mode=0o700)
        temporary = path.with_name(f"{name}.{os.getpid()}-{time.monotonic_ns()}.partial")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a blob. Raises `BlobLost` when it is missing or not what its name says."""
        try:
            with self._reached():
                data = self._path(name).read_bytes()
        except FileNotFoundError:
            raise BlobLost(f"blob {name} is missing") from None
        if name_of(data) != name:
            raise BlobLost(f"blob {name} is damaged")
        return data

    def has(self, name: str) -> bool:
        """Whether a blob is there."""
        with self._reached():
            return self._path(name).is_file()

    def size(self, name: str) -> int:
        """Bytes of a blob; 0 where there is none."""
        try:
            with self._reached():
                return self._path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, names: list[str], grace_s: float = _GRACE_S) -> int:
        """Delete those of `names` that are older than `grace_s`. Returns how many that were."""
        removed = 0
        for name in names:
            path = self._path(name)
            try:
                with self._reached():
                    if time.time() - path.stat().st_mtime_ns / 1e9 < grace_s:
                        continue
                    path.unlink()
            except FileNotFoundError:
                continue
            removed += 1
        return removed

    def names(self) -> set[str]:
        """All blobs that are there."""
        with self._reached():
            found = self._place.files() if isinstance(self._place, RemotePath) else [path.name for path in self._place.glob("*/*")]
        return {name.rpartition("/")[2] for name in found if _NAME.fullmatch(name.rpartition("/")[2])}

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """What an object store answers with an error, but for what it does not have, it may answer later."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if not self.is_shared_by_nodes:
                raise
            raise BlobsAway(f"{type(error).__name__}: {error}"[:500]) from error

    def _path(self, name: str) -> Path | RemotePath:
        assert _NAME.fullmatch(name), name
        return self._place / name[:2] / name
