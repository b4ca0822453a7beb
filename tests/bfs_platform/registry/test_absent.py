"""A registry that lacks something says what: no store, another store, a moved store, an old one, a lost file."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.registry.register import register
from bfs_platform.registry.resolve import resolve
from bfs_platform.tracking.run import Run
from bfs_platform.tracking.uri import connect


@pytest.fixture
def registered(empty_store, tmp_path, make_model, monkeypatch) -> tuple[Path, str]:
    """A store in a directory of its own with one model in it, and the name of that version. Nothing of it is cached."""
    store = tmp_path / "old place"
    store.mkdir()
    shutil.copy(empty_store, store / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    return store, f"models:/bfs/{register(make_model())}"


def _manifest(store: Path) -> Path:
    (found,) = (store / "artifacts").rglob("manifest.json")
    return found


def test_a_store_that_is_not_there(registered, tmp_path, monkeypatch) -> None:
    """A wrong path is told from a model that was never registered, and no empty database is left behind."""
    elsewhere = tmp_path / "elsewhere" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    with pytest.raises(BadInput, match=r"there is no database at .*; set MLFLOW_TRACKING_URI to the store"):
        resolve(registered[1])
    assert not elsewhere.exists()


def test_a_model_that_was_not_registered(registered) -> None:
    """The store is there, the version is not."""
    with pytest.raises(BadInput, match=r"models:/bfs/99 is not in the registry .*register the model first"):
        resolve("models:/bfs/99")


def test_a_store_that_was_moved(registered, tmp_path, monkeypatch) -> None:
    """The remedy names the old and the new place of the files, and works as printed."""
    store, name = registered
    moved = tmp_path / "new"
    store.rename(moved)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved / 'mlflow.db'}")
    with pytest.raises(IntegrityError, match="the store was moved") as refused:
        resolve(name)
    command = refused.value.remedy.split("`")[1]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert resolve(name).is_dir()


def test_files_that_are_gone(registered) -> None:
    """The whole folder of a model is missing, and lies nowhere near the store."""
    store, name = registered
    shutil.rmtree(_manifest(store).parent)
    with pytest.raises(IntegrityError, match=r"has no files any more: .* is gone; bring it back from a backup"):
        resolve(name)


@pytest.mark.parametrize("lost", ["manifest.json", "sharing/weights.safetensors"])
def test_one_file_that_is_gone(registered, lost: str) -> None:
    """The manifest, or what it lists: the file and its place are named."""
    store, name = registered
    (_manifest(store).parent / lost).unlink()
    with pytest.raises(IntegrityError, match=f"lacks the file {lost} in file:"):
        resolve(name)


def _change(path: Path, command: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(command)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("UPDATE alembic_version SET version_num = '451aebb31d03'", r"schema of an older MLflow \(451aebb31d03 instead of"),
        ("DROP TABLE alembic_version", r"schema of an older MLflow \(none instead of"),
        ("UPDATE alembic_version SET version_num = 'ffffffffffff'", "written by a newer MLflow"),
        ("DROP TABLE experiments", "something else than MLflow"),
    ],
    ids=["older", "none", "newer", "other"],
)
def test_a_store_of_another_version(registered, command: str, says: str) -> None:
    """It is refused before MLflow touches it, with the command that migrates it; a run is not buffered for ever."""
    store, name = registered
    copied = store / "copy.db"
    shutil.copy(store / "mlflow.db", copied)
    _change(copied, command)
    before = copied.read_bytes()
    with pytest.raises(BadInput, match=says):
        connect(f"sqlite:///{copied}")
    with pytest.raises(BadInput, match=says):
        resolve(name, registry_uri=f"sqlite:///{copied}")
    with pytest.raises(BadInput, match=says):
        Run.start("training", "stage 2", uri=f"sqlite:///{copied}")
    assert copied.read_bytes() == before


def test_a_file_that_is_no_database(tmp_path) -> None:
    """Some other file under the store's name is not written to."""
    path = tmp_path / "mlflow.db"
    path.write_text("notes on my experiments " * 100)
    with pytest.raises(BadInput, match="is no SQLite database that can be read"):
        connect(f"sqlite:///{path}")
    assert path.read_text().startswith("notes")
