"""Requests that are unusual and must not end in a failure of the service."""

from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient

from .test_api import FIELDS, WAIT, MakePng, Serve, post, problem_of


@pytest.mark.parametrize("charset", ["undefined", "utf-7", "no-such-charset"])
def test_a_charset_of_the_senders_own_is_no_failure(client: TestClient, make_png: MakePng, charset: str) -> None:
    """Whatever a form claims its text to be, it is refused or read, never a 500."""
    parts = [
        b'Content-Disposition: form-data; name="box"\r\n\r\n+2AA-,4,40,28',
        b'Content-Disposition: form-data; name="prompt"\r\n\r\na ball',
    ]
    parts.append(b'Content-Disposition: form-data; name="background"; filename="a.png"\r\n\r\n' + make_png())
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    answer = client.post("/v1/layers", content=body, headers={"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"})
    assert 400 <= answer.status_code < 500 and answer.headers["content-type"] == "application/problem+json", answer.text


def test_a_model_of_any_name_is_answered(serve: Serve, make_png: MakePng) -> None:
    """Headers hold ASCII: the name is percent-encoded there, and as it is in JSON."""
    answer = post(serve("模型 100%"), make_png(), WAIT)
    assert answer.status_code == 200 and answer.json()["model"]["name"] == "模型 100%"
    assert unquote(answer.headers["x-bfs-model"]) == "模型 100%@fake-模型 100%"


def test_a_prompt_may_be_empty_beside_a_reference_alone(client: TestClient, make_png: MakePng) -> None:
    """With nothing to go by the request is refused."""
    files = {"background": make_png()}
    for prompt in ("", " \n "):
        error = problem_of(client.post("/v1/layers", files=files, data=FIELDS | {"prompt": prompt}), 422)["errors"][0]
        assert (error["key"], error["rule"]) == ("prompt", "is empty")
    shown = client.post("/v1/layers", files=files | {"reference": make_png()}, data=FIELDS | {"prompt": ""}, headers=WAIT)
    assert shown.status_code == 200


def test_a_field_that_a_form_leaves_empty_is_one_left_out(client: TestClient, make_png: MakePng) -> None:
    """Forms of pages and scripts send all their fields."""
    empty = {"seed": "", "steps": "", "model": "", "candidates": "", "split_effects": "", "true_cfg_scale": ""}
    answer = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS | empty, headers=WAIT)
    assert answer.status_code == 200 and 0 <= answer.json()["seed"] < 2**32
    files = {"background": ("b.png", make_png()), "reference": ("", b"")}
    assert client.post("/v1/layers", files=files, data=FIELDS, headers=WAIT).status_code in (200, 422)


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/readyz", "/v1/jobs", "/metrics"])
def test_a_head_is_the_get_without_its_body(client: TestClient, path: str) -> None:
    """With the same headers, its length included."""
    got, head = client.get(path), client.head(path)
    assert head.status_code == 200 and head.content == b"" and head.headers["content-type"] == got.headers["content-type"]
    assert path == "/metrics" or head.headers["content-length"] == str(len(got.content))


def test_a_head_on_a_stream_of_events_ends(client: TestClient, make_png: MakePng) -> None:
    """And options say what a path takes."""
    location = post(client, make_png(), WAIT).headers["location"]
    head = client.head(f"{location}/events")
    assert head.status_code == 200 and head.headers["content-type"].startswith("text/event-stream")
    assert head.headers["x-accel-buffering"] == "no"
    for path, allowed in [(location, "DELETE, GET, HEAD, OPTIONS"), ("/v1/layers", "OPTIONS, POST"), ("/v1/jobs", "GET, HEAD, OPTIONS")]:
        options = client.options(path)
        assert (options.status_code, options.headers["allow"]) == (204, allowed)
        assert client.patch(path).headers["allow"] == allowed
    assert client.options("/nothing").status_code == 404
