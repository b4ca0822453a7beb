"""The whole service over a real socket: `python -m bfs_serve` with the fake engine, Serve, guard and all."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from PIL import Image

pytestmark = pytest.mark.ray

FIELDS = {"box": "8,4,40,28", "prompt": "a red ball", "seed": "7", "steps": "2"}
WAIT = {"Prefer": "wait=30"}
STEP_S = 0.1
MakePng = Callable[..., bytes]


@dataclass
class Running:
    """A running service."""

    process: subprocess.Popen[str]
    client: httpx2.Client
    port: int
    lines: list[str] = field(default_factory=list)

    def post(self, image: bytes, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
        return self.client.post("/v1/layers", files={"background": ("b.png", image)}, data=FIELDS | fields, headers=headers or {})

    def samplers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if ":sampler" in "".join(_command(child))]

    def metric(self, line: str) -> bool:
        return line in self.client.get("/metrics").text


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


@contextlib.contextmanager
def running(home: Path, *options: str) -> Iterator[Running]:
    """Start the service, with its jobs and pictures in `home`, and wait until it says so."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bfs_serve", "--engine", "bfs_serve.model.fake:FakeEngine", "--model", f"fake?step_s={STEP_S}"]
    process = subprocess.Popen(
        [*command, "--port", str(port), *options],
        env=os.environ | {"BFS_HOME": str(home)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process, httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=40) as client:
        service = Running(process, client, port)
        reader = threading.Thread(target=lambda: service.lines.extend(process.stderr or []))
        reader.start()
        try:
            until(lambda: any(line.startswith("ready http://127.0.0.1") for line in service.lines) or process.poll() is not None, 300)
            assert process.poll() is None, "".join(service.lines)[-3000:]
            yield service
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            reader.join(10)


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def service(make_png: MakePng, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests here; starting takes longer than the tests. Its end is checked, too."""
    with running(tmp_path_factory.mktemp("home"), "--max-queued", "3", "--max-replicas", "1", "--lease-s", "5") as started:
        yield started
        _ctrl_c_finishes_the_work_under_way_and_leaves_nothing(started, make_png())


def _ctrl_c_finishes_the_work_under_way_and_leaves_nothing(service: Running, image: bytes) -> None:
    """The whole process group gets SIGINT, as from a terminal: the running job still ends in 200, then all is gone."""
    children = psutil.Process(service.process.pid).children(recursive=True)
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(service.post(image, WAIT, steps="20")))
    waiting.start()
    until(lambda: service.metric("bfs_jobs_running 1.0"))
    for process in [service.process.pid, *(child.pid for child in children)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)
    waiting.join(30)
    assert [answer.status_code for answer in answers] == [200]
    assert service.process.wait(60) == 130
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def problem_of(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text[:500]
    problem: dict[str, Any] = response.json()
    return problem


def test_every_format_over_the_socket(service: Running, make_png: MakePng) -> None:
    """One blocking call per Accept; the layer has the size of the background."""
    assert service.client.get("/readyz").status_code == 200
    for accept, magic in [
        ("image/png", b"\x89PNG"),
        ("application/zip", b"PK"),
        ("image/vnd.adobe.photoshop", b"8BPS"),
        ("image/openraster", b"PK"),
    ]:
        response = service.post(make_png(), WAIT | {"Accept": accept})
        assert (response.status_code, response.headers["content-type"]) == (200, accept)
        assert response.content.startswith(magic) and response.headers["x-bfs-seed"] == "7" and response.headers["x-bfs-model"]
        if accept == "image/png":
            assert (Image.open(io.BytesIO(response.content)).mode, Image.open(io.BytesIO(response.content)).size) == ("RGBA", (48, 32))
    result = service.post(make_png(), WAIT)
    assert result.status_code == 200 and {"layer_png", "composite_png", "seed"} <= set(result.json())


def test_bad_input_is_a_problem(service: Running, make_png: MakePng) -> None:
    """Wrong box, unreadable and huge images, wrong address."""
    assert "leaves the image" in problem_of(service.post(make_png(), box="0,0,100,100"), 422)["detail"]
    problem_of(service.post(b"GIF89a"), 415)
    problem_of(service.post(make_png()[:500]), 422)
    out = io.BytesIO()
    Image.new("L", (14000, 14000)).save(out, "PNG")
    problem_of(service.post(out.getvalue()), 413)
    problem_of(service.client.post("/healthz", content=b"x" * 2**20), 405)
    problem_of(service.client.get("/nothing"), 404)
    problem_of(service.client.put("/v1/layers"), 405)


def test_progress_arrives_while_it_happens(service: Running, make_png: MakePng) -> None:
    """Steps are told when they are done, not all at the end."""
    location = service.post(make_png(), steps="30").headers["location"]
    times: dict[str, float] = {}
    with service.client.stream("GET", f"{location}/events") as events:
        for line in events.iter_lines():
            if line.startswith(("event: ", "data: ")):
                times[line] = time.monotonic()
    steps = [moment for line, moment in times.items() if line.startswith('data: {"step"')]
    assert {"event: queued", "event: started", "event: succeeded"} <= set(times)
    assert 3 < len(steps) <= 30 and steps[-1] - steps[0] > 10 * STEP_S  # those that follow each other fast are told together


def test_cancel_stops_the_work(service: Running, make_png: MakePng) -> None:
    """A job of ten seconds is canceled; the next one is drawn at once."""
    location = service.post(make_png(), steps="100").headers["location"]
    until(lambda: service.client.get(location).json()["status"] == "running")
    assert service.client.delete(location).json()["status"] == "canceled"
    begin = time.monotonic()
    assert service.post(make_png(), WAIT).status_code == 200
    assert time.monotonic() - begin < 5


def test_a_client_that_hangs_up_cancels_its_job(service: Running, make_png: MakePng) -> None:
    """It never learned the job's id, so nobody could fetch the result."""
    canceled = _canceled(service)
    with pytest.raises(httpx2.TimeoutException), httpx2.Client(base_url=service.client.base_url, timeout=1.5) as impatient:
        impatient.post("/v1/layers", files={"background": make_png()}, data=FIELDS | {"steps": "100"}, headers=WAIT)
    until(lambda: _canceled(service) == canceled + 1)
    assert service.post(make_png(), WAIT).status_code == 200


def _canceled(service: Running) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith('bfs_jobs_finished_total{outcome="canceled"}')), 0.0)


def test_a_full_queue_turns_clients_away_and_loses_none(service: Running, make_png: MakePng) -> None:
    """Every request ends in 200, or in 503 with Retry-After; what is drawn already, and as many as may wait, in 200."""
    first: list[httpx2.Response] = []
    drawing = threading.Thread(target=lambda: first.append(service.post(make_png(), WAIT, steps="20")))
    drawing.start()
    until(lambda: service.metric("bfs_jobs_running 1.0"))

    async def storm() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=service.client.base_url, timeout=40) as client:
            files = {"background": ("b.png", make_png())}
            return list(await asyncio.gather(*(client.post("/v1/layers", files=files, data=FIELDS, headers=WAIT) for _ in range(16))))

    answers = asyncio.run(storm())
    drawing.join(60)
    answers += first
    assert {a.status_code for a in answers} == {200, 503}
    assert sum(a.status_code == 200 for a in answers) >= 4
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 503)


def test_the_guard_stands_in_front(service: Running, make_png: MakePng) -> None:
    """Large and slow bodies, hidden routes, foreign hosts, wild request ids, security headers."""
    answer = service.client.post("/v1/layers", content=b"x" * (66 * 2**20), headers={"Content-Type": "application/json"})
    problem_of(answer, 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 2**20

    with contextlib.suppress(httpx2.WriteError):  # the service may close the connection before all is sent
        problem_of(service.client.post("/v1/layers", content=chunks(), headers={"Content-Type": "application/json"}), 413)
    problem_of(service.client.get("/-/routes"), 404)
    problem_of(service.client.get("/v1/models", headers={"Host": "evil.example"}), 403)
    evil = {"x-request-id": "a" * 1000, "x-request-timeout-seconds": "0.001", "x-request-disconnect-disabled": "?1"}
    answer = service.post(make_png(), WAIT | evil)
    assert answer.status_code == 200 and len(answer.headers["x-request-id"]) == 36
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_killed_worker_costs_nobody_a_result(service: Running, make_png: MakePng) -> None:
    """kill -9 in mid-drawing: the job is drawn again by the replacement, to the same bytes."""
    expected = service.post(make_png(), WAIT | {"Accept": "image/png"}, steps="20").content
    location = service.post(make_png(), steps="20").headers["location"]
    until(lambda: service.client.get(location).json().get("progress", {}).get("step", 0) >= 2)
    (sampler,) = service.samplers()
    sampler.kill()
    until(lambda: service.client.get(location).json()["status"] == "succeeded", 90)
    assert service.client.get(f"{location}/result?format=png").content == expected
    assert service.metric("bfs_jobs_retried_total 1.0")


def test_what_a_stopped_service_leaves_is_drawn_by_the_next(tmp_path: Path, make_png: MakePng) -> None:
    """Also when it was killed: every accepted job ends, with the picture that its seed gives, and keys still name their jobs."""
    key = {"Idempotency-Key": "k"}
    with running(tmp_path, "--max-replicas", "1", "--lease-s", "2") as first:
        expected = first.post(make_png(), WAIT | {"Accept": "image/png"}).content
        locations = [first.post(make_png(), steps="40").headers["location"]]
        locations += [first.post(make_png(), key if seed == 7 else {}, seed=str(seed)).headers["location"] for seed in (7, 8)]
        until(lambda: first.client.get(locations[0]).json().get("progress", {}).get("step", 0) >= 2)
        children = psutil.Process(first.process.pid).children(recursive=True)
        for process in [psutil.Process(first.process.pid), *children]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(children, 10)
    with running(tmp_path, "--max-replicas", "1", "--lease-s", "2") as second:
        for location in locations:
            until(lambda location=location: second.client.get(location).json()["status"] == "succeeded", 60)
        assert second.client.get(f"{locations[1]}/result?format=png").content == expected
        replayed = second.post(make_png(), key)
        assert replayed.headers["location"] == locations[1] and replayed.headers["idempotent-replayed"] == "true"
        assert second.metric('bfs_jobs_finished_total{outcome="succeeded"} 4.0')
