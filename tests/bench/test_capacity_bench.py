"""The model of the queue beside the real service: two samplers of known cost, asked at the moments that a simulation is asked at."""

import asyncio
import io
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from measuring import circumstances
from nodes import free_port
from PIL import Image
from queue_simulation import arrivals_of, waits_of
from services import running
from shells import bare_shell

from bfs_platform.capacity.queueing import Queue

pytestmark = [pytest.mark.bench, pytest.mark.soak]

STEP_S, STEPS, SAMPLERS, REQUESTS = 0.5, 4, 2, 100
FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7", "steps": str(STEPS)}


async def _ask(url: str, picture: bytes, moments: np.ndarray) -> list[dict[str, Any]]:
    """Start a job at each moment, and return all of them once they are done."""
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        began = time.monotonic()

        async def start(moment: float) -> str:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            answer = await client.post("/v1/layers", files={"background": picture}, data=FIELDS)
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        names = await asyncio.gather(*(start(float(moment)) for moment in moments))
        jobs = []
        for name in names:
            while (job := (await client.get(f"/v1/jobs/{name}")).json())["status"] not in ("succeeded", "failed"):
                await asyncio.sleep(0.5)
            jobs.append(job)
        return jobs


def _png() -> bytes:
    picture = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(picture, "PNG")
    return picture.getvalue()


def _seconds(job: dict[str, Any], begin: str, end: str) -> float:
    return (datetime.fromisoformat(job[end]) - datetime.fromisoformat(job[begin])).total_seconds()


def test_the_service_waits_as_the_queue_does(tmp_path: Path, repo_root: Path) -> None:
    """From request to picture, mean and 95th percentile within 15 % of the simulation of the same requests, and the model's beside them."""
    engine = ["--engine", "bfs_serve.model.fake:FakeEngine", "--model", f"fake?step_s={STEP_S}", "--rate", ""]
    samplers = ["--min-replicas", str(SAMPLERS), "--max-replicas", str(SAMPLERS)]
    command = [sys.executable, "-m", "bfs_serve", *engine, *samplers, "--max-queued", "1000", "--owner-max-queued", "1000"]
    queue = Queue(0.8 * SAMPLERS / (STEP_S * STEPS), STEP_S * STEPS, SAMPLERS)
    moments, draws = arrivals_of(queue, REQUESTS, 11)
    with running([*command, "--port", str(free_port())], bare_shell(tmp_path, BFS_HOME=str(tmp_path / "home")), repo_root) as url:
        jobs = asyncio.run(_ask(url, _png(), moments))
    assert {job["status"] for job in jobs} == {"succeeded"}
    real = np.array([_seconds(job, "created_at", "finished_at") for job in jobs])
    simulated = waits_of(SAMPLERS, moments, draws) + draws
    model = queue.mean_wait_s + queue.draw_s, queue.wait_s(0.95) + queue.draw_s
    print(f"\n{circumstances()}\n{'':<12}{'mean':>8}{'p95':>8}")
    for name, (mean, p95) in {
        "service": (real.mean(), np.quantile(real, 0.95)),
        "simulation": (simulated.mean(), np.quantile(simulated, 0.95)),
        "model": model,
    }.items():
        print(f"{name:<12}{mean:>7.2f}s{p95:>7.2f}s")
    assert real.mean() == pytest.approx(simulated.mean(), rel=0.15)
    assert np.quantile(real, 0.95) == pytest.approx(np.quantile(simulated, 0.95), rel=0.15)
    assert (real.mean(), np.quantile(real, 0.95)) == pytest.approx(model, rel=0.15)
