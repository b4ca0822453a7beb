"""What was deleted goes for good, but for what a version needs."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient

from bfs_platform.registry.collect import collect, main
from bfs_platform.registry.register import register
from bfs_platform.registry.resolve import resolve
from bfs_platform.tracking.uri import connect, experiment_id


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    made = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made)
    return made


def _run_with_a_file(client: MlflowClient) -> str:
    run = client.create_run(experiment_id(client, "drawings")).info.run_id
    client.log_text(run, "a picture", "picture.txt")
    return str(run)


def _files(tmp_path: Path, run: str) -> list[Path]:
    return [path for path in tmp_path.rglob("picture.txt") if run in path.parts]


def test_the_run_behind_a_version_is_spared(uri: str, make_model, tmp_path: Path) -> None:
    """A deleted run goes with its files; one that a version names stays, and the version can still be fetched."""
    client = connect(uri)
    needed, not_needed, alive = (_run_with_a_file(client) for _ in range(3))
    version = register(make_model(), "bfs", needed)
    (model,) = client.search_logged_models([experiment_id(client, "drawings")])
    for run in (needed, not_needed):
        client.delete_run(run)

    found = collect(uri, 0.0)
    assert found.removed == [not_needed] and found.spared == [needed]
    assert not _files(tmp_path, not_needed) and _files(tmp_path, needed) and _files(tmp_path, alive)
    assert (resolve(f"models:/bfs/{version}") / "manifest.json").is_file()
    client.delete_logged_model(model.model_id)
    assert set(collect(uri, 0.0).spared) == {needed, model.model_id}
    assert Path(url2pathname(urlsplit(model.artifact_location).path), "manifest.json").is_file()


def test_what_was_deleted_yesterday_stays(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody may want it back."""
    client = connect(uri)
    run = _run_with_a_file(client)
    client.delete_run(run)
    assert main(["--database", uri]) == "removed 0, spared 0" and _files(tmp_path, run)
    assert main(["--database", uri, "--older-than-days", "0"]) == "removed 1, spared 0" and not _files(tmp_path, run)
