"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from bfs_model import files
from bfs_model.errors import BadInput
from bfs_model.files import writable, write_whole


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    """Content as given, nothing left beside it, permissions as the user's umask wants them."""
    path = tmp_path / "a.bin"
    assert write_whole(path, b"one") == path
    assert write_whole(str(path), b"two").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A full disk loses neither the old file nor leaves a half new one."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_unusable_paths_are_named(tmp_path: Path) -> None:
    """Folder, missing folder, device, file as folder, NUL byte, endless name, loop of links: each is the user's to correct."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    bad = [tmp_path, tmp_path / "none" / "a", "/dev/null", tmp_path / "file" / "a", "a\0b", tmp_path / ("x" * 300), tmp_path / "loop"]
    for path in bad:
        with pytest.raises(BadInput) as caught:
            writable(path, key="composite")
        assert caught.value.key == "composite"


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even root meets read-only file systems; the refusal is one line, not a traceback."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(BadInput, match="cannot be written"):
        write_whole(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(BadInput, match="lies in a folder that cannot be written"):
        writable(tmp_path / "a")


def test_a_folder_that_holds_no_files_is_named() -> None:
    """The kernel's own, which say so only when a file is opened."""
    with pytest.raises(BadInput, match="cannot be written"):
        write_whole("/proc/a", b"x")


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The link stays a link; what it points to is replaced."""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
