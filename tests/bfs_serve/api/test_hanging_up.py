"""A caller that hangs up: its job is canceled, unless it has a key to ask for it again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore

FIELDS = {"box": "8,4,40,28", "prompt": "a red ball", "steps": "100"}
DELAY_S = 0.1


class Distant(JobStore):
    """A store some way off: its answer to `submit` takes a while, when the job is there already."""

    submitted = False

    async def submit(self, new: Any) -> Any:
        answer = await super().submit(new)
        self.submitted = True
        await asyncio.sleep(DELAY_S)
        return answer


@pytest.mark.parametrize("during", ["submit", "wait"])
@pytest.mark.parametrize("key", [None, "a key to ask again by"])
def test_hanging_up_cancels_the_job_unless_it_can_be_asked_for_again(
    make_png: Callable[..., bytes], tmp_path: Path, during: str, key: str | None
) -> None:
    """While the order is on its way, and while its result is waited for."""

    async def hang_up() -> str:
        url, blobs = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
        sampler = Sampler(SamplerSettings(url, blobs, "bfs_serve.model.fake:FakeEngine", grace_s=0))
        await sampler.reconfigure({"models": ["fake?step_s=0.05"], "follow_s": 0})
        store = Distant(url)
        transport = httpx2.ASGITransport(create_app(Service(store, Blobs(blobs), Pictures(), ["fake?step_s=0.05"])))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Prefer": "wait=30"} | ({"Idempotency-Key": key} if key else {})
            asking = asyncio.create_task(client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers=headers))
            while not (store.submitted if during == "submit" else (await store.depth()).running):
                await asyncio.sleep(0.005)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        for _ in range(4 if key else 100):
            await asyncio.sleep(DELAY_S)
            (job,) = (await store.page("local")).jobs
            if job.status == "canceled":
                break
        await store.cancel("local", job.id)
        await sampler.close()
        store.close()
        return job.status

    assert asyncio.run(hang_up()) == ("running" if key else "canceled")
