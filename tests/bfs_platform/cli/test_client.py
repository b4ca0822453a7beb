"""`bfs generate --url`: against a service that answers from a script."""

import base64
import io
import json
import os
import signal
import socket
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model.picture.compositing import composite_u8

from .conftest import Answer

PROBLEM = {"Content-Type": "application/problem+json"}
JOB = "0123456789abcdef0123456789abcdef"


def _layer() -> np.ndarray:
    layer = np.zeros((61, 97, 4), np.uint8)
    layer[20:40, 30:60] = [10, 200, 30, 128]
    return layer


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def _view(status: str, **further: Any) -> dict[str, Any]:
    links = {"self": f"/v1/jobs/{JOB}", "events": f"/v1/jobs/{JOB}/events", "result": f"/v1/jobs/{JOB}/result"}
    view = {"id": JOB, "kind": "layer", "status": status, "created_at": "now", "attempt": 1, "width": 97, "height": 61}
    return view | {"num_events": 1, "links": links} | further


def _events(*events: tuple[str, dict[str, Any]]) -> Answer:
    text = "".join(f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for number, (name, data) in enumerate(events, 1))
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream"})


def _done(room, **further: Any) -> Answer:
    flat = composite_u8(_layer(), np.asarray(Image.open(room)))
    pictures = {"layer_png": base64.b64encode(_png(_layer())).decode(), "composite_png": base64.b64encode(_png(flat)).decode()}
    made = {"seed": 41, "model": {"name": "tiny", "version": "0a1b"}, "progress": {"step": 3, "steps": 3}, "warnings": ["it is dark"]}
    return Answer(200, json.dumps(_view("succeeded", **pictures, **made | further)).encode(), {"Content-Type": "application/json"})


ACCEPTED = Answer(202, json.dumps(_view("queued")).encode(), {"Location": f"/v1/jobs/{JOB}"})
SUCCEEDED = _events(("queued", {"position": 2}), ("started", {}), ("progress", {"step": 3, "steps": 3}), ("succeeded", {}))
ALONE = Answer(200, _png(_layer()), {"Content-Type": "image/png"})  # the layer as a file, with how it was made inside
CONVERSATION = [
    ("POST", "/v1/layers"),
    ("GET", f"/v1/jobs/{JOB}/events"),
    ("GET", f"/v1/jobs/{JOB}/result"),
    ("GET", f"/v1/jobs/{JOB}/result?format=png&candidate=0"),
]


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, and without waiting for what the script will not say."""
    monkeypatch.delenv("BFS_API_KEY", raising=False)
    monkeypatch.setattr("bfs_platform.cli.client.PATIENCE_S", 0.0)


def _arguments(service, room, output) -> list[object]:
    place = ["--background", room, "--box", "20,10,70,55", "--prompt", "ball", "--output", output]
    return ["generate", "--url", service.url, *place, "--json"]


def _asked(service) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _, _ in service.asked]


def test_this_machine_is_asked_directly(bfs, service, room, tmp_path, monkeypatch) -> None:
    """Proxies that are away, or of a kind for which a package is missing, do not stand between this machine and itself."""
    for name, value in {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "example.org"}.items():
        monkeypatch.setenv(name, value)
    service.answers = [ACCEPTED, SUCCEEDED, _done(room), ALONE]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert result.exit_code == 0, result.stderr


def test_one_job_from_request_to_files(bfs, service, room, tmp_path, monkeypatch) -> None:
    """The request carries picture, box, prompt, seed and key, and what was not said is not sent; the answer becomes files."""
    monkeypatch.setenv("BFS_API_KEY", "secret")
    service.answers = [ACCEPTED, SUCCEEDED, _done(room), ALONE]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"), "--seed", 41, "--composite", tmp_path / "flat.png")
    assert result.exit_code == 0, result.stderr
    assert _asked(service) == CONVERSATION
    assert [headers["Authorization"] for _, _, headers, _ in service.asked] == ["Bearer secret"] * 4
    _, _, headers, body = service.asked[0]
    assert len(headers["Idempotency-Key"]) == 32
    for sent in (room.read_bytes(), b'name="box"\r\n\r\n20,10,70,55', b'name="prompt"\r\n\r\nball', b'name="seed"\r\n\r\n41'):
        assert sent in body
    assert b'name="steps"' not in body and b'name="model"' not in body
    summary = json.loads(result.stdout)
    assert (summary["seed"], summary["steps"], summary["model"]) == (41, 3, {"name": "tiny", "version": "0a1b"})
    assert (summary["url"], summary["warnings"]) == (service.url, ["it is dark"])
    assert "warning: it is dark" in result.stderr and "3/3 steps" in result.stderr
    with Image.open(tmp_path / "flat.png") as flat, Image.open(room) as empty, Image.open(tmp_path / "layer.png") as layer:
        np.testing.assert_array_equal(np.asarray(layer), _layer())
        np.testing.assert_array_equal(np.asarray(flat), composite_u8(np.asarray(layer), np.asarray(empty)))


def test_a_document_is_fetched_as_it_is(bfs, service, room, tmp_path) -> None:
    """A layered output is the service's file, byte for byte."""
    service.answers = [ACCEPTED, SUCCEEDED, _done(room), Answer(200, b"8BPS and so on", {"Content-Type": "image/vnd.adobe.photoshop"})]
    assert bfs(*_arguments(service, room, tmp_path / "layer.psd")).exit_code == 0
    assert _asked(service) == [*CONVERSATION[:-1], ("GET", f"/v1/jobs/{JOB}/result?format=psd&candidate=0")]
    assert (tmp_path / "layer.psd").read_bytes() == b"8BPS and so on"


def test_an_edge_that_is_busy_for_a_moment_is_asked_again(bfs, service, room, tmp_path, monkeypatch) -> None:
    """The job goes on behind it, and people are told; what is no passing state ends the wait."""
    monkeypatch.setattr("bfs_platform.cli.client.PATIENCE_S", 30.0)
    service.answers = [Answer(503), ACCEPTED, Answer(503), SUCCEEDED, Answer(429), _done(room), ALONE]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert result.exit_code == 0 and "answered 503 Service Unavailable" in result.stderr and "trying again for 30 s" in result.stderr
    service.answers = [ACCEPTED, Answer(404, b'{"detail": "No such job."}', PROBLEM)]
    result = bfs(*_arguments(service, room, tmp_path / "other.png"))
    assert result.exit_code == 2 and "No such job" in result.stderr
    monkeypatch.setattr("bfs_platform.cli.client.PATIENCE_S", 0.5)
    service.answers = [ACCEPTED, Answer(503, b'{"detail": "Not ready."}', PROBLEM)]
    result = bfs(*_arguments(service, room, tmp_path / "other.png"))
    assert result.exit_code == 1 and "Not ready" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "other.png").exists()


def test_the_models_name_is_read_back(bfs, service, room, tmp_path) -> None:
    """Whatever its letters."""
    service.answers = [ACCEPTED, SUCCEEDED, _done(room, model={"name": "模型", "version": "模型@1"}), ALONE]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert json.loads(result.stdout)["model"] == {"name": "模型", "version": "模型@1"}


@pytest.mark.parametrize(("url", "key"), [("http://[", "a"), ("http://a b:x", "a"), ("http://127.0.0.1:1", "schlüssel")])
def test_addresses_and_keys_that_cannot_be_sent(bfs, room, tmp_path, monkeypatch, url, key) -> None:
    """One line, exit code 2."""
    monkeypatch.setenv("BFS_API_KEY", key)
    arguments = ["--background", room, "--box", "20,10,70,55", "--prompt", "ball", "--output", tmp_path / "layer.png"]
    result = bfs("generate", "--url", url, *arguments)
    assert result.exit_code == 2 and result.stderr.count("\n") <= 2, result.stderr


@pytest.mark.parametrize("elsewhere", [False, True], ids=["main", "other"])
def test_an_interrupted_wait_cancels_the_job(bfs, service, room, tmp_path, monkeypatch, elsewhere) -> None:
    """Ctrl-C while waiting deletes the job and exits with 130, whichever thread the system gives the signal to."""
    monkeypatch.setattr("bfs_platform.cli.client.PATIENCE_S", 30.0)
    monkeypatch.setattr("bfs_platform.cli.client.say", lambda text: text.startswith("asking") or os.kill(os.getpid(), signal.SIGINT))
    service.answers = [ACCEPTED, Answer(503, b"", {"Retry-After": "20"}), Answer(204)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK if elsewhere else signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert result.exit_code == 130
    assert _asked(service)[-1] == ("DELETE", f"/v1/jobs/{JOB}")
    assert not (tmp_path / "layer.png").exists()


def test_the_key_is_not_carried_elsewhere(bfs, service, room, tmp_path) -> None:
    """Where a job lies is ours to say, not the answer's: another host there is not asked, the API key would go there."""
    elsewhere = json.loads(ACCEPTED.content)
    elsewhere["links"] = dict.fromkeys(elsewhere["links"], "http://127.0.0.1:9/v1/jobs/abc")
    accepted = Answer(202, json.dumps(elsewhere).encode(), {"Location": "http://127.0.0.1:9/v1/jobs/abc"})
    service.answers = [accepted, SUCCEEDED, _done(room), ALONE]
    assert bfs(*_arguments(service, room, tmp_path / "layer.png")).exit_code == 0
    assert _asked(service) == CONVERSATION
    service.answers = [Answer(202, json.dumps(elsewhere | {"id": "../../elsewhere"}).encode())]
    assert bfs(*_arguments(service, room, tmp_path / "layer.png")).exit_code == 1
    assert len(service.asked) == len(CONVERSATION) + 1


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
        (Answer(429, b'{"detail": "Too many requests."}', PROBLEM), 1, "Too many requests"),
        (Answer(503, b'{"detail": "The queue is full."}', PROBLEM), 1, "The queue is full"),
        (Answer(500, b'{"detail": "Out of memory."}', PROBLEM), 1, "Out of memory"),
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), 1, "answered with text/html that is no JobView; it may not be a BFS"),
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


@pytest.mark.parametrize(
    ("status", "problem", "exit_code", "said"),
    [
        (503, {"status": 503, "detail": "The node went away."}, 1, "The node went away"),
        (422, {"status": 422, "errors": [ENTRY]}, 2, "prompt=<5000 characters> is longer than"),
    ],
)
def test_a_job_that_fails(bfs, service, room, tmp_path, status, problem, exit_code, said) -> None:
    """Later, while it is drawn: who is at fault decides all the same."""
    service.answers = [ACCEPTED, _events(("queued", {}), ("failed", {"problem": problem}))]
    result = bfs(*_arguments(service, room, tmp_path / "layer.png"))
    assert (result.exit_code, said in result.stderr.splitlines()[-1]) == (exit_code, True), result.stderr
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
