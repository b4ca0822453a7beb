"""One notion of a place: `pathlib.Path` for this machine, `RemotePath` for an object store, with the same few operations.

Object stores are reached through pyarrow's file systems. Credentials, region and endpoint come from the environment, as for
every other tool (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …): they are never part of a URI, so they reach no manifest.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from bfs_model.errors import BadInput

SCHEMES = ("s3", "gs")
# `Path("s3://bucket/x")` has lost a slash; such a path still names the store.
_URI = re.compile(rf"^({'|'.join(SCHEMES)}):/{{1,2}}([^/].*)$")


@dataclass(frozen=True, slots=True)
class Status:
    """What `Path.stat` says, as far as it is needed."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """An object, or a prefix that stands for a folder, of an object store: `scheme`, and `key` with the bucket in front."""

    scheme: str
    key: str

    def __truediv__(self, name: "str | os.PathLike[str]") -> "RemotePath":
        return RemotePath(self.scheme, str(PurePosixPath(self.key) / name))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.scheme, str(PurePosixPath(self.key).parent))

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        """The names below `other`."""
        return PurePosixPath(self.key).relative_to(other.key)

    def exists(self) -> bool:
        return self._info().type.name in ("File", "Directory")

    def is_file(self) -> bool:
        return self._info().type.name == "File"

    def is_dir(self) -> bool:
        return self._info().type.name == "Directory"

    def stat(self) -> Status:
        """Size and time of an object. Raises `FileNotFoundError`."""
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(2, "no such object", str(self))
        return Status(info.size, info.mtime_ns or 0)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> Any:
        """A binary file that can be read at random, or ("wb") written from its start on; the object appears when that is closed.

        Raises `FileNotFoundError` or `OSError`.
        """
        assert mode in ("rb", "wb"), "objects are binary, and nothing is added to them"
        store = _filesystem(self.scheme, self.bucket)
        # By default pyarrow compresses what is named *.gz, once more.
        return store.open_input_file(self.key) if mode == "rb" else store.open_output_stream(self.key, compression=None)

    def write_bytes(self, data: bytes) -> None:
        """Put the object. It appears whole or not at all."""
        with self.open("wb") as file:
            file.write(data)

    def copy_to(self, other: "RemotePath") -> None:
        """Put a copy at another place of the same bucket; the store does it, no byte travels. Raises `FileNotFoundError`."""
        try:
            _filesystem(self.scheme, self.bucket).copy_file(self.key, other.key)
        except OSError:
            self.stat()  # what is not there is an error like others to some stores
            raise

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            _filesystem(self.scheme, self.bucket).delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def iterdir(self) -> "Iterator[RemotePath]":
        """What lies directly below, folders too."""
        yield from (RemotePath(self.scheme, info.path) for info in self._listing(recursive=False))

    def rglob(self, pattern: str = "*") -> "Iterator[RemotePath]":
        """All objects below, in the order of their names. Only `*` is understood."""
        assert pattern == "*"
        yield from (self / name for name in sorted(self.files()))

    def files(self) -> dict[str, Status]:
        """Every object below, by its name relative to this prefix, from one listing."""
        found = [info for info in self._listing(recursive=True) if info.type.name == "File"]
        names = [str(PurePosixPath(info.path).relative_to(self.key)) for info in found]
        return {name: Status(info.size, info.mtime_ns or 0) for name, info in zip(names, found, strict=True)}

    @property
    def bucket(self) -> str:
        return self.key.partition("/")[0]

    def _info(self) -> Any:
        return _filesystem(self.scheme, self.bucket).get_file_info(self.key)

    def _listing(self, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self.key, recursive=recursive, allow_not_found=True)
        return list(_filesystem(self.scheme, self.bucket).get_file_info(selector))


Location = Path | RemotePath


def location(value: "str | os.PathLike[str] | RemotePath") -> Location:
    """The place that a URI (`s3://bucket/prefix`) or a path names. Raises `BadInput` for another scheme."""
    if isinstance(value, RemotePath):
        return value
    text = str(value)
    match = _URI.match(text)
    if match:
        return RemotePath(match[1], match[2].rstrip("/"))
    if "://" in text:
        raise BadInput("location", text, "is in a store that is not known", f"use a path, or {' or '.join(s + '://…' for s in SCHEMES)}")
    return Path(text).expanduser().absolute()


def reachable(place: Location, key: str) -> Location:
    """`place`, after one question to its store. Raises `BadInput` when the store or the bucket does not answer."""
    if isinstance(place, RemotePath):
        try:
            found = RemotePath(place.scheme, place.bucket).is_dir()
        except OSError as error:
            raise BadInput(
                key, place, f"cannot be reached ({str(error).splitlines()[0][:200]})", "check endpoint and credentials"
            ) from None
        if not found:
            raise BadInput(key, place, f"is in a bucket that does not exist ({place.bucket})", "create it, or name another")
    return place


@lru_cache(maxsize=4096)
def _remote_version(place: RemotePath) -> tuple[int, int]:
    status = place.stat()
    return status.st_size, status.st_mtime_ns


def version_of(place: Location) -> tuple[int, int]:
    """Size and time of a file; of an object as this process saw it first, because asking costs a trip to the store."""
    if isinstance(place, RemotePath):
        return _remote_version(place)
    status = place.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str) -> Any:
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"{scheme}://{bucket}")[0]
