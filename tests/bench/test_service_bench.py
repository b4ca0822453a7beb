"""What the service adds to its model, whose cost is known: five steps of a tenth of a second, asleep, so that the processors are free
for what is measured. Ratios of one run: the bare loop calls the same engine in this process.
"""

import asyncio
import contextlib
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from measuring import Row, circumstances, table
from nodes import free_port
from PIL import Image

from bfs_serve.job.engine import Pin, Request, Settings
from bfs_serve.model.fake import FakeEngine

pytestmark = pytest.mark.bench

STEPS, STEP_S = 5, 0.1
PARTS = {"proxy": "ProxyActor", "ingress": ":ingress", "sampler": ":sampler", "reading uploads": "decode.child"}
FAKE = ("--engine", "bfs_serve.model.fake:FakeEngine")
FORM = {"box": "200,200,456,456", "prompt": "a ball", "seed": "7", "steps": f"{STEPS}"}
REQUESTS, SATURATING, STORM_S, OVERLOAD = 40, 24, 20.0, 4


def picture(side: int) -> bytes:
    """A soft picture with some grain, as a photograph has: a PNG of about a byte a pixel."""
    rng, ramp = np.random.default_rng(side), np.linspace(60, 200, side)
    soft = (ramp[:, None] + ramp[None]) / 2
    grain = rng.integers(-2, 3, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray((soft[..., None] + grain).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def bare_s(data: bytes, rounds: int) -> list[float]:
    """How long each drawing takes where nothing stands around the engine."""
    engine = FakeEngine(f"fake?step_s={STEP_S}", Pin("fake", "v"))
    background = Image.open(io.BytesIO(data)).convert("RGB")
    seconds = []
    for seed in range(rounds):
        began = time.perf_counter()
        engine.draw([Request(background, (200, 200, 456, 456), "a ball", seed)], Settings(steps=STEPS), lambda *_: None, lambda: False)
        seconds.append(time.perf_counter() - began)
    return seconds


def processor_s() -> dict[str, float]:
    """Seconds of processor time that each part of the service has used; on a shared machine all that does not depend on others."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command, times = " ".join(process.cmdline()), process.cpu_times()
            for part, sign in PARTS.items():
                if sign in command:
                    found[part] = found.get(part, 0.0) + times.user + times.system
    return found


@contextlib.contextmanager
def service(home: Path, *options: str) -> Iterator[str]:
    """The whole of it, started as a user starts it; yields its address."""
    port, log = free_port(), home / "log"
    command = [sys.executable, "-m", "bfs_serve", "--port", str(port), "--max-replicas", "1", "--rate", "", *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, env=os.environ | {"BFS_HOME": str(home)}, stdout=stderr, stderr=stderr)
        try:
            deadline = time.monotonic() + 300
            while "ready http" not in log.read_text():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(120)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A service whose drawings take half a second, of whose jobs four may wait."""
    with service(tmp_path, *FAKE, "--model", f"fake?step_s={STEP_S}", "--max-queued", "4", "--owner-max-queued", "4") as url:
        yield url


async def _posted(client: httpx2.AsyncClient, data: bytes, seed: int, form: dict[str, str] = FORM) -> tuple[float, httpx2.Response]:
    began = time.perf_counter()
    form = form | {"seed": f"{seed}"}
    answer = await client.post("/v1/layers", files={"background": ("b.png", data)}, data=form, headers={"Prefer": "wait=120"})
    return time.perf_counter() - began, answer


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=180, trust_env=False, limits=httpx2.Limits(max_connections=None))


async def _one_after_another(url: str, data: bytes, form: dict[str, str] = FORM) -> list[float]:
    async with _client(url) as client:
        for seed in range(3):
            await _posted(client, data, seed, form)
        found = [await _posted(client, data, seed, form) for seed in range(REQUESTS)]
    assert all(answer.status_code == 200 for _, answer in found)
    return [seconds for seconds, _ in found]


async def _saturated(url: str, data: bytes) -> list[float]:
    """When each of so many jobs ended, with always three of them waiting."""
    async with _client(url) as client:
        places = asyncio.Semaphore(4)

        async def one(seed: int) -> dict[str, Any]:
            async with places:
                _, answer = await _posted(client, data, seed)
            assert answer.status_code == 200, answer.text[:300]
            return dict(answer.json())

        jobs = await asyncio.gather(*(one(seed) for seed in range(SATURATING)))
    return sorted(datetime.fromisoformat(job["finished_at"]).timestamp() for job in jobs)


async def _overloaded(url: str, data: bytes, per_s: float) -> list[tuple[float, float, httpx2.Response]]:
    """(when it was sent, how long it took, answer) of requests that come at an even pace, whatever becomes of the others."""
    async with _client(url) as client:
        began = time.perf_counter()

        async def one(number: int) -> tuple[float, float, httpx2.Response]:
            await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
            sent = time.perf_counter() - began
            seconds, answer = await _posted(client, data, number)
            return sent, seconds, answer

        return list(await asyncio.gather(*(one(number) for number in range(round(STORM_S * per_s)))))


def test_overhead_throughput_and_goodput(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what stands around a drawing, how much of the model's time is used, and what becomes of four times too much."""
    small, large = picture(512), picture(1024)
    bare = statistics.median(bare_s(small, 8))
    busy = processor_s()
    whole = asyncio.run(_one_after_another(address, small))
    busy = {part: (seconds - busy.get(part, 0.0)) / len(whole) for part, seconds in processor_s().items()}
    overhead = sorted(seconds - bare for seconds in whole)
    p50, best = statistics.median(overhead), overhead[0]
    stamp = picture(64)  # whose pixels cost next to nothing: what is left is the service itself
    alone = sorted(seconds - bare for seconds in asyncio.run(_one_after_another(address, stamp, FORM | {"box": "8,8,56,56"})))
    bare_large = statistics.median(bare_s(large, 8))
    ends = asyncio.run(_saturated(address, large))
    throughput = (len(ends) - 1) / (ends[-1] - ends[0]) * bare_large
    storm = asyncio.run(_overloaded(address, large, OVERLOAD / bare_large))
    drawn = [sent + seconds for sent, seconds, answer in storm if answer.status_code == 200]
    refused = sorted(seconds for _, seconds, answer in storm if answer.status_code == 503)
    goodput = (len(drawn) - 1) / (max(drawn) - min(drawn)) * bare_large
    rows = [
        Row("overhead of a request, p50", p50 * 1e3, target=15, unit=" ms"),
        Row("overhead of a request, least", best * 1e3, unit=" ms"),
        Row("overhead ÷ drawing, p50", p50 / bare, target=0.03),
        Row("overhead of a request of 64², p50", statistics.median(alone) * 1e3, target=15, unit=" ms"),
        Row("overhead of a request of 64², least", alone[0] * 1e3, unit=" ms"),
        *(Row(f"processor time of a request, {part}", seconds * 1e3, unit=" ms") for part, seconds in busy.items()),
        Row("throughput at saturation ÷ bare loop, 1024²", throughput, target=0.95, at_least=True),
        Row(f"goodput at {OVERLOAD} × capacity ÷ bare loop", goodput, target=0.9, at_least=True),
        Row(f"slowest of {len(refused)} refusals", refused[-1] * 1e3, target=100, unit=" ms"),
        Row("median refusal", statistics.median(refused) * 1e3, unit=" ms"),
    ]
    with capsys.disabled():
        print(table(f"The service around a drawing of {bare * 1e3:.0f} ms", rows, circumstances()))
    assert {answer.status_code for _, _, answer in storm} == {200, 503}


@pytest.mark.parametrize("model", [("--model", "tiny"), (*FAKE, "--model", "fake")], ids=["tiny", "fake"])
def test_cold_start(model: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints how long a job waits for a sampler where none is there, and that samplers go again."""
    options = *model, "--min-replicas", "0", "--idle-s", "2"
    with service(tmp_path, *options) as url, httpx2.Client(base_url=url, timeout=300, trust_env=False) as client:

        def waited_s() -> float:
            files, form = {"background": ("b.png", picture(512))}, FORM | {"steps": "4"}
            answer = client.post("/v1/layers", files=files, data=form, headers={"Prefer": "wait=250"})
            assert answer.status_code == 200, answer.text[:300]
            return float(answer.json()["timings"]["queued_s"])

        waits = []
        for _ in range(3):
            _until_gone(client)
            waits.append(waited_s())
        warm = waited_s()
    rows = [Row("wait for the first sampler, least", min(waits), unit=" s"), Row("wait for the first sampler, most", max(waits), unit=" s")]
    with capsys.disabled():
        print(table(f"Cold start, {model[-1]}", [*rows, Row("wait where one is there", warm, unit=" s")], circumstances()))


def _until_gone(client: httpx2.Client) -> None:
    deadline = time.monotonic() + 120
    while "bfs_workers 0.0" not in client.get("/metrics").text:
        assert time.monotonic() < deadline, "the samplers stay"
        time.sleep(0.2)
