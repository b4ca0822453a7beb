"""`bfs generate --url`: against a service that answers from a script."""

import io
import json
import socket

import numpy as np
import pytest
from PIL import Image

from bfs_model.compositing import composite_u8

from .conftest import Answer

PROBLEM = {"Content-Type": "application/problem+json"}


def _layer_png() -> bytes:
    layer = np.zeros((61, 97, 4), np.uint8)
    layer[20:40, 30:60] = [10, 200, 30, 128]
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "png")
    return buffer.getvalue()


DONE = Answer(200, _layer_png(), {"Content-Type": "image/png", "X-BFS-Seed": "41", "X-BFS-Model": "tiny (0a1b)"})


def _arguments(service, room, output) -> list[object]:
    return [
        "generate",
        "--url",
        service.url,
        "--background",
        room,
        "--box",
        "20,10,70,55",
        "--prompt",
        "ball",
        "--output",
        output,
        "--json",
    ]


def test_one_blocking_request(bfs, service, room, tmp_path, monkeypatch) -> None:
    """The request carries picture, box, prompt, seed, wish for waiting, wanted format and key; the answer is the file."""
    monkeypatch.setenv("BFS_API_KEY", "secret")
    service.answers = [DONE]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"), "--seed", 41, "--composite", tmp_path / "flat.png")
    assert result.exit_code == 0, result.stderr
    ((method, path, headers, body),) = service.asked
    assert (method, path) == ("POST", "/v1/layers")
    assert headers["Prefer"] == "wait=300"
    assert headers["Accept"] == "image/png"
    assert headers["Authorization"] == "Bearer secret"
    for sent in (room.read_bytes(), b'name="box"\r\n\r\n20,10,70,55', b'name="prompt"\r\n\r\nball', b'name="seed"\r\n\r\n41'):
        assert sent in body
    assert b'name="steps"' not in body
    assert (tmp_path / "layer.png").read_bytes() == DONE.content
    summary = json.loads(result.stdout)
    assert (summary["seed"], summary["model"], summary["url"]) == (41, "tiny (0a1b)", service.url)
    with Image.open(tmp_path / "flat.png") as flat, Image.open(room) as empty, Image.open(tmp_path / "layer.png") as layer:
        np.testing.assert_array_equal(np.asarray(flat), composite_u8(np.asarray(layer), np.asarray(empty)))


def test_an_answer_that_comes_later(bfs, service, room, tmp_path, monkeypatch) -> None:
    """202: the job is asked after until it is finished, then its result is fetched in the wanted format."""
    monkeypatch.setattr("bfs_platform.cli.client._POLL_S", 0.01)
    accepted = Answer(202, b"{}", {"Location": "/v1/jobs/abc"})
    running, finished = Answer(200, b'{"status": "running"}'), Answer(200, b'{"status": "succeeded", "finished_at": "now"}')
    service.answers = [accepted, running, finished, DONE]
    assert bfs(*_arguments(service, room, tmp_path / "layer.png")).exit_code == 0
    asked = [(method, path) for method, path, _, _ in service.asked]
    assert asked == [("POST", "/v1/layers"), ("GET", "/v1/jobs/abc"), ("GET", "/v1/jobs/abc"), ("GET", "/v1/jobs/abc/result")]
    assert service.asked[-1][2]["Accept"] == "image/png"
    assert (tmp_path / "layer.png").read_bytes() == DONE.content


def test_an_edge_that_is_busy_for_a_moment_is_asked_again(bfs, service, room, tmp_path, monkeypatch) -> None:
    """The job goes on behind it; what is no passing state ends the wait."""
    monkeypatch.setattr("bfs_platform.cli.client._POLL_S", 0.01)
    accepted, finished = Answer(202, b"{}", {"Location": "/v1/jobs/abc"}), Answer(200, b'{"finished_at": "now"}')
    service.answers = [accepted, Answer(503), Answer(200, b"no json"), Answer(429), finished, DONE]
    assert bfs(*_arguments(service, room, tmp_path / "layer.png")).exit_code == 0
    service.answers = [accepted, Answer(404, b'{"detail": "No such job."}', PROBLEM)]
    result = bfs(*_arguments(service, room, tmp_path / "other.png"))
    assert result.exit_code == 2 and "No such job" in result.stderr
    monkeypatch.setattr("bfs_platform.cli.client._PATIENCE", 2)
    service.answers = [accepted, Answer(503, b'{"detail": "Not ready."}', PROBLEM)]
    result = bfs(*_arguments(service, room, tmp_path / "other.png"))
    assert result.exit_code == 1 and "Not ready." in result.stderr


def test_the_models_name_is_read_back(bfs, service, room, tmp_path) -> None:
    """It travels percent-encoded."""
    service.answers = [Answer(200, DONE.content, DONE.headers | {"X-BFS-Model": "%E6%A8%A1%E5%9E%8B@1"})]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert json.loads(result.stdout)["model"] == "模型@1"


@pytest.mark.parametrize(("url", "key"), [("http://[", "a"), ("http://a b:x", "a"), ("http://127.0.0.1:1", "schlüssel")])
def test_addresses_and_keys_that_cannot_be_sent(bfs, room, tmp_path, monkeypatch, url, key) -> None:
    """One line, exit code 2."""
    monkeypatch.setenv("BFS_API_KEY", key)
    arguments = ["--background", room, "--box", "20,10,70,55", "--prompt", "ball", "--output", tmp_path / "layer.png"]
    result = bfs("generate", "--url", url, *arguments)
    assert result.exit_code == 2 and result.stderr.count("\n") <= 2, result.stderr


def test_an_interrupted_wait_cancels_the_job(bfs, service, room, tmp_path, monkeypatch) -> None:
    """Ctrl-C while waiting deletes the job and exits with 130."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bfs_platform.cli.client.time.sleep", interrupt)
    service.answers = [Answer(202, b"{}", {"Location": "/v1/jobs/abc"}), Answer(200, b'{"status": "running"}')]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert result.exit_code == 130
    assert service.asked[-1][:2] == ("DELETE", "/v1/jobs/abc")
    assert not (tmp_path / "layer.png").exists()


def test_the_key_is_not_carried_elsewhere(bfs, service, room, tmp_path) -> None:
    """A job that lies at another host is not asked after: the API key would go there."""
    service.answers = [Answer(202, b"{}", {"Location": "http://127.0.0.1:9/v1/jobs/abc"})]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert result.exit_code == 1
    assert len(service.asked) == 1


ENTRY = {
    "pointer": "/prompt",
    "key": "prompt",
    "value": "<5000 characters>",
    "rule": "is longer than 1000 characters",
    "remedy": "shorten it",
}


@pytest.mark.parametrize(
    ("answer", "exit_code", "said"),
    [
        (Answer(422, json.dumps({"errors": [ENTRY]}).encode(), PROBLEM), 2, "prompt=<5000 characters> is longer than 1000 characters"),
        (Answer(401, b'{"detail": "Send a key."}', PROBLEM), 2, "refused the request with status 401; Send a key."),
        (Answer(429, b'{"detail": "Too many requests."}', PROBLEM), 1, "Too many requests."),
        (Answer(503, b'{"detail": "The queue is full."}', PROBLEM), 1, "The queue is full."),
        (Answer(500, b'{"detail": "Out of memory."}', PROBLEM), 1, "Out of memory."),
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), 1, "answered with text/html instead of image/png; it may not be a BFS"),
        (Answer(404, b"<html>", {"Content-Type": "text/html"}), 1, "it may not be a BFS service"),
        (Answer(302, b"", {"Location": "/elsewhere"}), 1, "answered 302"),
        (Answer(422, b"not json", PROBLEM), 1, "answered 422"),
    ],
)
def test_refusals_and_failures(bfs, service, room, tmp_path, answer, exit_code, said) -> None:
    """What the caller can correct is 2, what the service is at fault for is 1; one line each, no file."""
    service.answers = [answer]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert result.exit_code == exit_code, result.stderr
    lines = result.stderr.splitlines()
    assert said in lines[-1]
    assert len(lines) == 2  # the first says whom we ask
    assert not (tmp_path / "layer.png").exists()


def test_nobody_there(bfs, room, tmp_path) -> None:
    """A refused connection is a failure that says where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    arguments = ["--url", url, "--background", room, "--box", "20,10,70,55", "--prompt", "ball", "--output", tmp_path / "layer.png"]
    result = bfs("generate", *arguments)
    assert result.exit_code == 1
    assert f"url={url} cannot be reached" in result.stderr
