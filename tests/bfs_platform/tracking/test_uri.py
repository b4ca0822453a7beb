"""Where tracking lives."""

import concurrent.futures
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_platform.tracking.uri import bfs_home, checked_uri, connect, experiment_id, tracking_uri


def test_default_is_an_absolute_database_in_the_home(tmp_path, monkeypatch) -> None:
    """Without settings, a program started in a directory tracks into .bfs/mlflow.db there, named absolutely."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("BFS_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert bfs_home() == tmp_path / ".bfs"
    assert tracking_uri() == f"sqlite:///{tmp_path}/.bfs/mlflow.db"


def test_a_relative_database_becomes_absolute(tmp_path, monkeypatch) -> None:
    """A relative SQLite path is fixed to the directory where it was read, since Ray's workers run elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/m.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/runs/m.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "/tmp/mlruns", "sqlite://", "databricks", "http:host"])
def test_stores_without_a_registry_are_refused(uri) -> None:
    """A file store or a nonsense scheme is one clear error, not a second store somewhere."""
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI"):
        checked_uri(uri)


def test_artifacts_lie_beside_the_database(store_uri, tmp_path) -> None:
    """Artifacts of a SQLite store do not land in the working directory."""
    client = connect()
    found = client.get_experiment(experiment_id(client, "an experiment/with a slash"))
    assert found.artifact_location == (tmp_path / "artifacts" / "an%20experiment%2Fwith%20a%20slash").as_uri()
    assert experiment_id(client, "an experiment/with a slash") == found.experiment_id


def test_a_deleted_experiment_is_named(store_uri) -> None:
    """Logging into a deleted experiment is refused with a remedy."""
    client = connect()
    client.delete_experiment(experiment_id(client, "gone"))
    with pytest.raises(BadInput, match="experiment=gone was deleted"):
        experiment_id(client, "gone")


def _first_use(uri: str) -> str:
    return experiment_id(connect(uri), "same")


def test_several_processes_may_be_the_first(tmp_path: Path) -> None:
    """Two processes that open a new database at once both get it, with one experiment."""
    import multiprocessing

    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert len(set(pool.map(_first_use, [uri, uri]))) == 1
