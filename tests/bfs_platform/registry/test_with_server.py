"""Tracking and registry against a real MLflow server, through its going away and coming back."""

import urllib.error
import urllib.parse
import urllib.request

import pytest
from PIL import Image

from bfs_platform.registry.promote import promote, rollback
from bfs_platform.registry.records import history
from bfs_platform.registry.resolve import pin, resolve
from bfs_platform.registry.store import Unreachable
from bfs_platform.tracking.run import Run
from bfs_platform.tracking.server import mlflow_server
from bfs_platform.tracking.uri import connect


def answer(uri: str, host: str) -> int:
    """The status of a request that names `host` in its Host header."""
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search", b'{"max_results": 1}', {"Host": host})
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_that_goes_away_and_comes_back(tmp_path, monkeypatch, make_model, passing_smoke) -> None:
    """Runs, models, promotion and rollback over HTTP; while the server is away the run goes on and cached models serve."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with mlflow_server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        port = urllib.parse.urlsplit(uri).port
        assert answer(uri, f"127.0.0.1:{port}") == 200
        assert answer(uri, "evil.example") == 403
        assert answer(uri, "10.0.0.1") == 403, "MLflow's own default would let every private address in"

        run = Run.start("demo", "over http", {"a": 1}, buffer_path=tmp_path / "run.jsonl")
        run.metrics({"loss": 1.0}, 1)
        run.image(Image.new("RGB", (4, 4)), "sample", 1)
        run.artifact(make_model(9.0, "notes"), "notes")
        assert run.num_buffered == 0
        assert {item.path for item in connect(uri).list_artifacts(run.run_id)} == {"images", "notes"}

        one = promote(str(make_model(1.0, "a")), run_id=run.run_id, smoke=passing_smoke)
        two = promote(str(make_model(2.0, "b")), smoke=passing_smoke)
        assert one["promoted"] and two["previous"] == one["version"]
        assert pin("models:/bfs@champion") == two["uri"]
        assert rollback()["version"] == one["version"]
        assert [move["action"] for move in history()] == ["promote", "promote", "rollback"]
        folder = resolve("models:/bfs@champion")
        assert folder.name == one["content_hash"]

    run.metrics({"loss": 2.0}, 2)
    assert run.num_buffered == 1
    assert resolve(one["uri"]) == folder
    with pytest.raises(Unreachable, match="models:/bfs/2"):
        resolve("models:/bfs@champion")

    with mlflow_server(tmp_path / "server", port):
        run.metrics({"loss": 3.0}, 3)
        assert run.finish()
        found = connect(uri).get_metric_history(run.run_id, "loss")
        assert [(metric.step, metric.value) for metric in found] == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert connect(uri).get_run(run.run_id).info.status == "FINISHED"
        assert resolve("models:/bfs@champion") == folder
