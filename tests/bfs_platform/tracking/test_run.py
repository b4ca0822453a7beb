"""Runs: what is logged arrives, an outage is survived, a refusal is not repeated."""

import logging
import math
import os
import socket
import subprocess
import sys

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.tracking import run as run_module
from bfs_platform.tracking.delivery import PENDING, flat, is_outage
from bfs_platform.tracking.journal import Journal
from bfs_platform.tracking.left_behind import finish
from bfs_platform.tracking.run import Run
from bfs_platform.tracking.uri import connect

MANIFEST = {"kind": "dataset", "content_hash": "ab" * 32, "body": {"stage": 1, "num_records": 5}, "files": [{"path": "x"}]}


class Switch:
    """Stands between a run and MLflow: while off, every connection fails as a stopped server does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, self.num_tries = True, 0
        deliver = run_module.deliver

        def through(client, run_id, event):
            self.num_tries += 1
            if not self.on:
                raise ConnectionRefusedError("nobody listens")
            return deliver(client, run_id, event)

        monkeypatch.setattr(run_module, "deliver", through)


class Clock:
    """A clock that moves only when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def switch(monkeypatch) -> Switch:
    """The connection, which a test can cut."""
    return Switch(monkeypatch)


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    """What MLflow holds for a metric, by step."""
    return sorted((m.step, m.value) for m in connect(uri).get_metric_history(run_id, key))


def artifacts(uri: str, run_id: str, folder: str | None = None) -> set[str]:
    """Paths of a run's artifacts in one folder."""
    return {item.path for item in connect(uri).list_artifacts(run_id, folder)}


def test_everything_arrives(store_uri, tmp_path) -> None:
    """Parameters, tags, inputs, metrics, images, files, texts and the final state are in MLflow under the run's id."""
    (tmp_path / "note.txt").write_text("hello")
    run = Run.start("demo", "first", {"optimizer": {"lr": 0.5}, "names": ["a"]}, {"stage": "1"}, [MANIFEST])
    run.metrics({"loss": 2.0, "loss/fg α": math.pi}, step=3)
    run.image(Image.new("RGBA", (4, 4), (1, 2, 3, 4)), "samples/one", step=3)
    run.artifact(tmp_path / "note.txt", "notes")
    run.text("<p>", "report/index.html")
    assert run.finish()

    found = connect(store_uri).get_run(run.run_id)
    assert found.info.status == "FINISHED" and found.info.run_name == "first"
    assert found.data.params == {"optimizer.lr": "0.5", "names": '["a"]'}
    assert found.data.tags["stage"] == "1"
    assert found.data.metrics == {"loss": 2.0, "loss/fg _": math.pi}
    dataset = found.inputs.dataset_inputs[0].dataset
    assert dataset.name == "dataset-stage1" and dataset.digest == MANIFEST["content_hash"][:36]
    assert MANIFEST["content_hash"] in dataset.source and '"num_records": 5' in dataset.source
    assert artifacts(store_uri, run.run_id, "notes") == {"notes/note.txt"}
    assert artifacts(store_uri, run.run_id, "report") == {"report/index.html"}
    images = artifacts(store_uri, run.run_id, "images")
    assert any(path.startswith("images/samples~one+step+3") and path.endswith(".png") for path in images)
    assert not [path for path in tmp_path.glob("home/**/*") if path.is_file()], "nothing may be left in the buffer"


def test_more_than_a_batch_of_parameters_and_metrics(store_uri) -> None:
    """Recipes are larger than MLflow's limit for one request."""
    run = Run.start("demo", "wide", {f"p{i}": i for i in range(230)})
    run.metrics({f"m{i}": i for i in range(230)}, step=0)
    found = connect(store_uri).get_run(run.run_id).data
    assert len(found.params) == 230 and found.metrics["m229"] == 229


def test_another_process_attaches_by_id(store_uri) -> None:
    """A training worker that knows only id and URI continues the run, also after a restart."""
    run = Run.start("demo", "shared")
    for step in (1, 2):
        Run.attach(run.run_id, store_uri).metrics({"loss": 1 / step}, step)
    assert history(store_uri, run.run_id, "loss") == [(1, 1.0), (2, 0.5)]


def test_an_outage_is_buffered_and_delivered_in_order(store_uri, tmp_path, switch) -> None:
    """While the server is away nothing raises and nothing is lost, not even files that vanish meanwhile."""
    run = Run.start("demo", "outage", buffer_path=tmp_path / "buffer.jsonl")
    run.metrics({"loss": 0.0}, 0)
    switch.on = False
    run.metrics({"loss": 1.0}, 1)
    run.image(Image.new("RGB", (4, 4)), "sample", 1)
    (tmp_path / "gone.txt").write_text("kept")
    run.artifact(tmp_path / "gone.txt", "notes")
    (tmp_path / "gone.txt").unlink()
    assert run.num_buffered == 3
    assert run.flush(within_s=0) == 3

    switch.on = True
    run.metrics({"loss": 2.0}, 2)
    assert run.finish()
    assert history(store_uri, run.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert artifacts(store_uri, run.run_id, "notes") == {"notes/gone.txt"}
    assert any("sample+step+1" in path for path in artifacts(store_uri, run.run_id, "images"))
    assert connect(store_uri).get_run(run.run_id).info.status == "FINISHED"
    assert not list(tmp_path.glob("buffer*")), "the journal and its files are gone"


def test_a_run_can_start_and_be_shared_while_the_server_is_away(store_uri, tmp_path, switch) -> None:
    """A provisional id works in another process; once the creator delivers, both write into one run."""
    switch.on = False
    driver = Run.start("demo", "late", {"a": 1}, buffer_path=tmp_path / "driver.jsonl")
    worker = Run.attach(driver.run_id, store_uri, tmp_path / "worker.jsonl")
    assert driver.run_id.startswith(PENDING)
    worker.metrics({"loss": 1.0}, 1)
    switch.on = True
    assert worker.flush(within_s=0) == 1, "the worker cannot know the run before its creator delivered it"
    assert driver.finish()
    assert worker.flush(within_s=5) == 0
    assert worker.run_id == driver.run_id
    assert history(store_uri, driver.run_id, "loss") == [(1, 1.0)]


def test_tries_become_rarer_while_the_server_is_away(store_uri, tmp_path, switch) -> None:
    """The training loop pays for a dead server once per pause, and pauses grow; recovery resets them."""
    clock = Clock()
    started = Run.start("demo", "pauses")
    run = Run(started.run_id, store_uri, tmp_path / "b.jsonl", clock)
    switch.on, switch.num_tries = False, 0
    tried_at = []
    for second in range(100):
        clock.now_s, before = float(second), switch.num_tries
        run.metrics({"loss": 1.0}, second)
        tried_at += [second] * (switch.num_tries - before)
    assert tried_at == [0, 1, 3, 7, 15, 31, 63]
    switch.on, clock.now_s = True, 200.0
    run.metrics({"loss": 1.0}, 100)
    assert run.num_buffered == 0 and len(history(store_uri, run.run_id, "loss")) == 101


def test_what_a_dead_process_left_is_delivered_by_the_next(store_uri, tmp_path, switch) -> None:
    """A restarted worker with the same buffer delivers what the killed one could not; a torn last line is skipped."""
    run = Run.start("demo", "restart", buffer_path=tmp_path / "b.jsonl")
    switch.on = False
    run.metrics({"loss": 1.0}, 1)
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"op": "metrics", "val')
    switch.on = True
    restarted = Run.attach(run.run_id, store_uri, tmp_path / "b.jsonl")
    restarted.metrics({"loss": 2.0}, 2)
    assert history(store_uri, run.run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_the_end_of_a_run_brings_what_its_workers_could_not_deliver(store_uri, tmp_path, switch, monkeypatch) -> None:
    """A run begun in an outage: its worker ended before the server was back, under the name that the run had then."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    switch.on = False
    driver = Run.start("e", "outage", uri=store_uri)
    buffer = tmp_path / "home" / "tracking" / f"{driver.run_id}-{ended.pid}.jsonl"
    Run.attach(driver.run_id, store_uri, buffer).metrics({"loss": 0.5}, step=1)
    alive = tmp_path / "home" / "tracking" / f"{driver.run_id}-{os.getppid()}.jsonl"
    Run.attach(driver.run_id, store_uri, alive).metrics({"loss": 0.25}, step=2)
    switch.on = True
    assert driver.finish() and not driver.run_id.startswith(PENDING)
    assert history(store_uri, driver.run_id, "loss") == [(1, 0.5)]
    assert not buffer.exists() and alive.exists(), "a process that lives delivers by itself"


def test_the_next_run_brings_what_an_ended_one_could_not_deliver(store_uri, tmp_path, switch, monkeypatch) -> None:
    """A whole run that ended in an outage, also what its worker had; what is meant for another server, or of a living process, stays."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "tracking"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    switch.on = False
    lost = Run.start("e", "lost", uri=store_uri, buffer_path=folder / "first.jsonl")
    lost.metrics({"loss": 0.5}, step=1)
    assert not lost.finish(within_s=0.0)
    (folder / "first.jsonl").rename(folder / f"{lost.run_id}-{ended.pid}.jsonl")
    other = Run.start("e", "elsewhere", uri="http://127.0.0.1:9", buffer_path=folder / "second.jsonl")
    (folder / "second.jsonl").rename(elsewhere := folder / f"{other.run_id}-{ended.pid}.jsonl")
    switch.on = True
    assert finish(Run.start("e", "next", uri=store_uri))
    client = MlflowClient(store_uri)
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    found = {run.info.run_name: run for run in runs}
    assert found["lost"].info.status == "FINISHED" and found["lost"].data.metrics == {"loss": 0.5}
    assert [path.name for path in folder.glob("*.jsonl")] == [elsewhere.name]


def test_delivering_twice_changes_nothing(store_uri, tmp_path) -> None:
    """Killed between delivery and bookkeeping, the next process repeats the event: still one value, one parameter."""
    run = Run.start("demo", "twice", {"a": 1})
    event = {"op": "metrics", "values": {"loss": 1.0}, "step": 1, "time_ms": 1000}
    for _ in range(2):
        Journal(tmp_path / "b.jsonl").append(event)
        assert Run.attach(run.run_id, store_uri, tmp_path / "b.jsonl").flush() == 0
    assert history(store_uri, run.run_id, "loss") == [(1, 1.0)]


def test_a_refused_value_is_dropped_with_a_warning(store_uri, caplog) -> None:
    """A changed parameter, which MLflow never accepts, is named in the log and does not block what follows."""
    run = Run.start("demo", "refused", {"a": 1})
    with caplog.at_level(logging.WARNING):
        run.params({"a": 2})
    run.metrics({"loss": 1.0}, 1)
    assert "refused a params event" in caplog.text
    assert run.num_buffered == 0 and history(store_uri, run.run_id, "loss") == [(1, 1.0)]


def test_a_wrong_address_is_told_at_the_start(store_uri) -> None:
    """A deleted experiment is the user's mistake and must not be buffered for ever."""
    run = Run.start("doomed", "first")
    client = connect(store_uri)
    client.delete_experiment(client.get_run(run.run_id).info.experiment_id)
    with pytest.raises(BadInput, match="experiment=doomed"):
        Run.start("doomed", "second")


def test_a_port_where_nobody_listens_is_an_outage(tmp_path) -> None:
    """The real HTTP client against a closed port: the call returns soon and the event is kept."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = Run.start("demo", "nobody", uri=f"http://127.0.0.1:{port}", buffer_path=tmp_path / "b.jsonl")
    run.metrics({"loss": 1.0}, 1)
    assert run.run_id.startswith(PENDING) and run.num_buffered == 2


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ConnectionResetError(), True),
        (MlflowException("x", error_code=1), True),  # INTERNAL_ERROR
        (MlflowException.invalid_parameter_value("x"), False),
        (ValueError("x"), False),
    ],
)
def test_outages_and_refusals(error, outage) -> None:
    """Only what another try may cure counts as an outage."""
    assert is_outage(error) is outage


def test_flat_names() -> None:
    """Nested settings become dotted parameters; an empty part stays visible."""
    assert flat({"a": {"b": 1, "c": {}}, "d": None, "e": "x"}) == {"a.b": "1", "a.c": "{}", "d": "null", "e": "x"}
