"""The HTTP API over the fake engine, without Ray."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from bfs_model.picture.compositing import composite_u8
from bfs_serve.edge.signature import CallerFacts, signed
from bfs_serve.store.records import Limits

MakePng = Callable[..., bytes]
Serve = Callable[..., TestClient]
WAIT = {"Prefer": "wait=20"}
FIELDS = {"box": "8,4,40,28", "prompt": "a red ball", "seed": "7", "steps": "2"}


def post(client: TestClient, image: bytes, headers: dict[str, str] | None = None, path: str = "/v1/layers", **fields: str) -> Any:
    return client.post(path, files={"background": ("b.png", image)}, data=FIELDS | fields, headers=headers or {})


def as_json(image: bytes, **changes: Any) -> dict[str, Any]:
    body = {"background": base64.b64encode(image).decode(), "box": [8, 4, 40, 28], "prompt": "a red ball", "seed": 7, "steps": 2}
    return {key: value for key, value in (body | changes).items() if value is not ...}


def problem_of(response: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer that must be one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status and problem["type"].startswith("urn:bfs:problem:") and problem["title"] and problem["detail"]
    assert problem["instance"].startswith("urn:bfs:request:")
    return problem


def test_multipart_and_json_give_the_same_layer(client: TestClient, make_png: MakePng) -> None:
    """The layer is RGBA of the background's size, and the answer says seed, box and model."""
    first = post(client, make_png(), WAIT)
    second = client.post("/v1/layers", json=as_json(make_png(), box={"x": 8, "y": 4, "width": 32, "height": 24}), headers=WAIT)
    assert first.status_code == second.status_code == 200
    result = first.json()
    assert result["layer_png"] == second.json()["layer_png"]
    assert (result["seed"], result["box"], result["model"]["name"], result["status"]) == (7, [8, 4, 40, 28], "fake", "succeeded")
    assert (first.headers["x-bfs-seed"], first.headers["x-bfs-model"]) == ("7", "fake@fake-fake")
    layer = Image.open(io.BytesIO(base64.b64decode(result["layer_png"])))
    composite = Image.open(io.BytesIO(base64.b64decode(result["composite_png"])))
    assert (layer.mode, layer.size, composite.mode, composite.size) == ("RGBA", (48, 32), "RGB", (48, 32))
    expected = composite_u8(np.asarray(layer), np.asarray(Image.open(io.BytesIO(make_png()))))
    np.testing.assert_array_equal(np.asarray(composite), expected)


@pytest.mark.parametrize(
    ("accept", "query", "media", "magic"),
    [
        ("image/png", "", "image/png", b"\x89PNG"),
        ("application/zip", "", "application/zip", b"PK"),
        ("image/vnd.adobe.photoshop", "", "image/vnd.adobe.photoshop", b"8BPS"),
        ("image/openraster", "", "image/openraster", b"PK"),
        ("application/json", "?format=psd", "image/vnd.adobe.photoshop", b"8BPS"),
    ],
)
def test_every_format_is_given(client: TestClient, make_png: MakePng, accept: str, query: str, media: str, magic: bytes) -> None:
    """By Accept or by ?format=, with a file name, the seed and the model."""
    response = post(client, make_png(), WAIT | {"Accept": accept}, f"/v1/layers{query}")
    assert (response.status_code, response.headers["content-type"]) == (200, media), response.text[:300]
    assert response.content.startswith(magic) and response.headers["x-bfs-seed"] == "7"
    assert "attachment; filename=" in response.headers["content-disposition"]


def test_documents_hold_background_and_layer(client: TestClient, make_png: MakePng) -> None:
    """The OpenRaster file has both layers; the prompt names the upper one."""
    response = post(client, make_png(), WAIT, "/v1/layers?format=ora", prompt="赤い球 <b>")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        stack = archive.read("stack.xml").decode()
    assert stack.count("<layer") == 2 and "赤い球 &lt;b&gt;" in stack


def test_without_prefer_a_job_is_started(client: TestClient, make_png: MakePng) -> None:
    """202, Location; the job is looked at, followed, fetched; canceling it then changes nothing; its result can be forgotten."""
    response = post(client, make_png())
    assert response.status_code == 202 and response.headers["retry-after"] == "1" and response.headers["x-bfs-seed"] == "7"
    location = response.headers["location"]
    assert response.json()["links"]["self"] == location
    events = client.get(f"{location}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in events.text.splitlines() if line.startswith("event: ")]
    assert [name for name in names if name != "progress"] == ["queued", "started", "succeeded"] and "progress" in names
    assert client.get(f"{location}/events", headers={"Last-Event-ID": str(len(names) - 1)}).text.count("event: ") == 1
    assert client.get(f"{location}/events", headers={"Last-Event-ID": str(len(names))}).status_code == 204
    view = client.get(location).json()
    assert view["status"] == "succeeded" and view["expires_at"] and "layer_png" not in view
    assert client.get(f"{location}/result", headers={"Accept": "image/png"}).content.startswith(b"\x89PNG")
    for _ in range(2):
        assert client.delete(location).status_code == 204
        assert client.get(f"{location}/result").status_code == 200
    for _ in range(2):
        assert client.delete(f"{location}/result").status_code == 204
        problem_of(client.get(location), 404)


def test_a_running_job_is_canceled(serve: Serve, make_png: MakePng) -> None:
    """DELETE answers 202 and the job says so; its result is a problem before and after."""
    client = serve("fake?step_s=0.1")
    location = post(client, make_png(), steps="100").headers["location"]
    assert problem_of(client.get(f"{location}/result"), 409)["type"].endswith("not-finished")
    response = client.delete(location)
    assert (response.status_code, response.json()["status"]) == (202, "canceled")
    assert problem_of(client.get(f"{location}/result"), 409)["type"].endswith("canceled")
    assert "event: canceled" in client.get(f"{location}/events").text


def test_waiting_too_short_gives_the_job(serve: Serve, make_png: MakePng) -> None:
    """Prefer: wait=1 on a job of several seconds answers 202 after a second."""
    response = post(serve("fake?step_s=0.3"), make_png(), {"Prefer": "wait=1"}, steps="20")
    assert (response.status_code, response.json()["status"], response.headers["preference-applied"]) == (202, "running", "wait=1")


def test_a_drawn_seed_is_told_and_repeats_the_layer(client: TestClient, make_png: MakePng) -> None:
    """Without a seed one is drawn; giving it back gives the same layer."""
    first = client.post("/v1/layers", json=as_json(make_png(), seed=...), headers=WAIT).json()
    second = client.post("/v1/layers", json=as_json(make_png(), seed=first["seed"]), headers=WAIT).json()
    assert first["layer_png"] == second["layer_png"] and 0 <= first["seed"] < 2**32


def test_idempotency_key_replays(client: TestClient, make_png: MakePng) -> None:
    """The same request gives the same job, even where we drew the seed; another request is refused."""
    headers = WAIT | {"Idempotency-Key": "abc"}
    first = client.post("/v1/layers", json=as_json(make_png(), seed=...), headers=headers).json()
    assert client.post("/v1/layers", json=as_json(make_png(), seed=...), headers=headers).json()["id"] == first["id"]
    problem_of(client.post("/v1/layers", json=as_json(make_png(), prompt="a cube"), headers=headers), 422)
    problem_of(client.post("/v1/layers", json=as_json(make_png()), headers={"Idempotency-Key": "x" * 129}), 422)


def test_idempotency_key_replays_a_document(client: TestClient, make_png: MakePng) -> None:
    """Seeds that were drawn for its layers are no difference; one that is given is."""
    layers: list[dict[str, object]] = [
        {"name": "ball", "box": [2, 2, 20, 20], "prompt": "a ball"},
        {"name": "cup", "box": [20, 4, 40, 28], "prompt": "a cup", "seed": 3},
    ]
    headers = WAIT | {"Idempotency-Key": "document"}
    body = {"background": base64.b64encode(make_png()).decode(), "layers": layers}
    first, again = (client.post("/v1/documents", json=body, headers=headers) for _ in range(2))
    assert first.status_code == again.status_code == 200 and first.json()["id"] == again.json()["id"]
    layers[1]["seed"] = 4
    problem_of(client.post("/v1/documents", json=body, headers=headers), 422)


def test_a_job_that_runs_cannot_be_forgotten(serve: Serve, make_png: MakePng) -> None:
    """It is said, and how to end it; a job that is forgotten already, or never was, is no reason to complain."""
    client = serve("fake?step_s=0.3")
    started = post(client, make_png(), {}, steps="40")
    problem = problem_of(client.delete(f"{started.headers['location']}/result"), 409)
    assert problem["type"].endswith(":not-finished")
    assert client.delete(started.headers["location"]).status_code == 202
    assert [client.delete(f"{started.headers['location']}/result").status_code for _ in range(2)] == [204, 204]


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ("0,0,49,32", "leaves the image"),
        ("40,4,8,28", "empty or reversed"),
        ("8,4,8,28", "empty or reversed"),
        ("a,b,c,d", "four whole numbers"),
        ("1,2,3", "is not a box"),
        ("-1,0,5,5", "leaves the image"),
    ],
)
def test_a_bad_box_is_422_with_rule_and_remedy(client: TestClient, make_png: MakePng, box: str, rule: str) -> None:
    """In a form and in JSON alike."""
    answers = [post(client, make_png(), box=box)]
    if box.count(",") == 3 and "a" not in box:
        answers.append(client.post("/v1/layers", json=as_json(make_png(), box=[int(n) for n in box.split(",")])))
    for response in answers:
        error = problem_of(response, 422)["errors"][0]
        assert error["pointer"] == "/box" and rule in error["rule"] and error["remedy"] and error["value"]


@pytest.mark.parametrize(
    ("image", "status", "rule"),
    [
        (b"", 415, "not a PNG"),
        (b"GIF89a" + b"\0" * 50, 415, "not a PNG"),
        (b"%PDF-1.7", 415, "not a PNG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 422, ""),
        (b"RIFF\0\0\0\0WAVE", 422, ""),
    ],
    ids=["empty", "gif", "pdf", "broken png", "wave"],
)
def test_an_unreadable_image_is_415_or_422(client: TestClient, image: bytes, status: int, rule: str) -> None:
    """Another format is 415, a damaged picture 422."""
    error = problem_of(post(client, image), status)["errors"][0]
    assert error["key"] == "background" and rule in error["rule"] and error["remedy"]


def test_a_truncated_image_is_422(client: TestClient, make_png: MakePng) -> None:
    """Half a picture is no picture."""
    assert problem_of(post(client, make_png()[:-200]), 422)["errors"][0]["key"] == "background"


def test_a_huge_image_is_413_before_it_is_decoded(client: TestClient) -> None:
    """A small file that would unpack to 9000x9000 pixels, or to more than any decoder takes."""
    for side in (9000, 14000):
        out = io.BytesIO()
        Image.new("1", (side, side)).save(out, "PNG")
        assert len(out.getvalue()) < 100_000
        assert "67,108,864 pixels" in problem_of(post(client, out.getvalue()), 413)["errors"][0]["rule"]


def test_a_large_file_is_413(client: TestClient) -> None:
    """More than 64 MiB, in a form and in JSON."""
    image = b"\x89PNG\r\n\x1a\n" + b"\0" * (64 * 2**20)
    assert "too-large" in problem_of(post(client, image), 413)["type"]
    assert "too-large" in problem_of(client.post("/v1/layers", json=as_json(image)), 413)["type"]


def test_a_turned_photograph_keeps_the_callers_view(client: TestClient) -> None:
    """EXIF orientation is applied: the box is in the upright picture."""
    picture = Image.new("RGB", (48, 32), "gray")
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif)
    result = post(client, out.getvalue(), WAIT, box="0,40,32,48").json()
    assert (result["width"], result["height"]) == (32, 48)


def json_with(box: bytes = b"[0, 0, 1, 1]", prompt: bytes = b'"a"', background: bytes = b'"aaaa"') -> bytes:
    return b'{"box": %s, "prompt": %s, "background": %s}' % (box, prompt, background)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"{", 400, id="cut"),
        pytest.param(b'"\xff"', 400, id="not utf-8"),
        pytest.param(b"[" * 100_000, 400, id="deep"),
        pytest.param(b"[]", 422, id="list"),
        pytest.param(b"null", 422, id="null"),
        pytest.param(b"{}", 422, id="no fields"),
        pytest.param(b'{"\\ud800": 1}', 400, id="surrogate as name"),
        pytest.param(json_with(box=b"[1e400, 0, 1, 1]"), 422, id="infinite"),
        pytest.param(json_with(box=b"[NaN, 0, 1, 1]"), 422, id="not a number"),
        pytest.param(json_with(box=b"[0, 0, 1, %s]" % (b"9" * 5000)), 400, id="endless number"),
        pytest.param(json_with(box=b"[0, 1, 0, %s]" % (b"9" * 4000)), 422, id="long number"),
        pytest.param(json_with(prompt=b'"\\ud800"'), 400, id="surrogate"),
        pytest.param(json_with(prompt=b'"a\\u0000"'), 422, id="nul"),
        pytest.param(json_with(background=b'"http://127.0.0.1:8265/"'), 422, id="url"),
    ],
)
def test_hostile_json_is_a_problem(client: TestClient, body: bytes, status: int) -> None:
    """Never a 500."""
    problem = problem_of(client.post("/v1/layers", content=body, headers={"Content-Type": "application/json"}), status)
    assert problem["errors"] if status == 422 else "json" in problem["detail"].lower(), problem


def test_what_the_caller_sent_is_not_echoed(client: TestClient, make_png: MakePng) -> None:
    """Neither prompt nor unknown values come back."""
    for changes in ({"prompt": "secret\x00"}, {"seed": "secret"}, {"prompt": 7, "extra": "secret"}, {"background": "secret!"}):
        response = client.post("/v1/layers", json=as_json(make_png(), **changes))
        problem_of(response, 422)
        assert "secret" not in response.text


def test_all_mistakes_are_told_at_once(client: TestClient, make_png: MakePng) -> None:
    """One answer, one entry per field."""
    problem = problem_of(client.post("/v1/layers", json=as_json(make_png(), seed=-1, steps=0, box=[1], colour="red")), 422)
    assert {error["pointer"] for error in problem["errors"]} == {"/seed", "/steps", "/box", "/colour"}


@pytest.mark.parametrize(
    "changes",
    [{"seed": "seven"}, {"steps": "0"}, {"seed": "9" * 30}, {"colour": "red"}, {"split_effects": "maybe"}, {"prompt": " "}],
    ids=str,
)
def test_bad_form_fields_are_422(client: TestClient, make_png: MakePng, changes: dict[str, str]) -> None:
    """Text that is no number, out of range, unknown."""
    error = problem_of(post(client, make_png(), **changes), 422)["errors"][0]
    assert error["pointer"] == f"/{next(iter(changes))}"


def test_forms_are_read_strictly(client: TestClient, make_png: MakePng) -> None:
    """A missing, doubled or textual background, too many fields and broken framing are told apart from failures."""
    assert "background" in problem_of(client.post("/v1/layers", files={"reference": make_png()}, data=FIELDS), 422)["detail"]
    assert problem_of(client.post("/v1/layers", files={"other": make_png()}, data=FIELDS), 422)["errors"][0]["key"] == "other"
    twice = [("background", ("a.png", make_png())), ("background", ("b.png", make_png()))]
    problem_of(client.post("/v1/layers", files=twice, data=FIELDS), 422)
    problem_of(client.post("/v1/layers", data=FIELDS | {"background": "text"}, files={"reference": make_png()}), 422)
    many = {f"field{n}": "x" for n in range(20)}
    problem_of(client.post("/v1/layers", data=FIELDS | many, files={"background": make_png()}), 400)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem_of(client.post("/v1/layers", content=b"--x\r\nContent-Disposition: nonsense\r\n\r\na\r\n--x--\r\n", headers=headers), 400)
    problem_of(client.post("/v1/layers", content=b"no boundary here", headers=headers), 400)
    problem_of(client.post("/v1/layers", content=b"", headers={"Content-Type": "multipart/form-data"}), 400)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", ""])
def test_other_bodies_are_415(client: TestClient, content_type: str) -> None:
    """The answer says which are taken."""
    response = client.post("/v1/layers", content=b"x", headers={"Content-Type": content_type})
    problem_of(response, 415)
    assert "multipart/form-data" in response.headers["accept"]


def test_what_cannot_be_given_is_406_before_any_work(client: TestClient, make_png: MakePng) -> None:
    """Nothing is queued for an answer that nobody can read."""
    problem_of(post(client, make_png(), {"Accept": "text/html"}), 406)
    problem_of(post(client, make_png(), path="/v1/layers?format=bmp"), 406)
    assert "bfs_jobs_accepted_total{" not in client.get("/metrics").text


def test_failures_of_the_engine_are_problems(client: TestClient, make_png: MakePng) -> None:
    """A bug is told without its text, a refusal with it. Asking again changes nothing, so neither asks for that."""
    answer = post(client, make_png(), WAIT, prompt="fail")
    problem = problem_of(answer, 422)
    assert problem["type"].endswith("internal") and "told to" not in json.dumps(problem) and "retry-after" not in answer.headers
    assert problem_of(post(client, make_png(), WAIT, prompt="refuse"), 422)["errors"][0]["remedy"]


def test_a_full_queue_is_503_with_retry_after(serve: Serve, make_png: MakePng) -> None:
    """One is drawn, the next waits, and the one behind it finds the queue full."""
    client = serve("fake?step_s=0.2", Limits(max_queued=1))
    drawn = post(client, make_png(), steps="50").json()["id"]
    while client.get(f"/v1/jobs/{drawn}").json()["status"] == "queued":
        time.sleep(0.01)
    answers = [post(client, make_png(), steps="50") for _ in range(2)]
    assert answers[0].status_code == 202
    problem_of(answers[-1], 503)
    assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/v1/layers", 405),
        ("GET", "/docs", 404),
        ("GET", f"/v1/jobs/{'0' * 32}", 404),
        ("DELETE", f"/v1/jobs/{'0' * 32}", 404),
        ("GET", f"/v1/jobs/{'0' * 32}/events", 404),
        ("GET", f"/v1/jobs/{'0' * 32}/result", 404),
        ("GET", "/v1/jobs/x", 422),
    ],
)
def test_wrong_addresses_are_problems(client: TestClient, method: str, path: str, status: int) -> None:
    """Unknown paths, methods and jobs."""
    response = client.request(method, path)
    problem_of(response, status)
    assert status != 405 or response.headers["allow"] == "OPTIONS, POST"


def test_service_routes(client: TestClient) -> None:
    """Health, readiness, models, metrics, and the OpenAPI document with both request forms."""
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["version"], model["state"], model["default"]) == ("fake", "fake-fake", "ready", True)
    text = client.get("/metrics").text
    assert 'bfs_model_info{name="fake",version="fake-fake"} 1.0' in text and "bfs_jobs_retried_total 0.0" in text
    document = client.get("/openapi.json").json()
    content = document["paths"]["/v1/layers"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    assert "image/vnd.adobe.photoshop" in document["paths"]["/v1/layers"]["post"]["responses"]["200"]["content"]


def test_callers_do_not_see_each_others_jobs(serve: Serve, make_png: MakePng, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the guard required, whom it names is the owner; without its signature nothing is answered."""
    monkeypatch.setenv("BFS_EDGE_SECRET", "a secret of this node")
    client = serve(require_guard=True)
    key = client.app.state.secret  # type: ignore[attr-defined]
    ann, bob = ({"X-BFS-Caller": signed(CallerFacts(name), "r1", key), "X-Request-ID": "r1"} for name in ("ann", "bob"))
    location = post(client, make_png(), ann | WAIT).headers["location"]
    assert client.get(location, headers=ann).status_code == 200
    for method, path in [
        ("GET", location),
        ("GET", f"{location}/events"),
        ("GET", f"{location}/result"),
        ("DELETE", location),
        ("GET", f"{location}/result"),
    ]:
        problem_of(client.request(method, path, headers=bob), 404)
        for forged in ({}, {"X-BFS-Caller": "ann"}, ann | {"X-Request-ID": "r2"}):
            assert "edge guard" in problem_of(client.request(method, path, headers=forged), 503)["detail"]
    problem_of(client.get("/readyz"), 503)
    assert client.get("/healthz").status_code == 200
