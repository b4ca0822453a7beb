"""A sampler that is told to stop: it waits for its own jobs, not for those of others who share its store."""

import asyncio
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.job.export import ExportTask
from bfs_serve.job.orders import DRAWN_KINDS, ExportOrder, LayerOrder
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import QUEUED, RUNNING, SUCCEEDED, NewJob, Wanted

MODEL = "fake?step_s=0.2"


def test_a_sampler_drains_what_it_holds_and_nothing_else(tmp_path: Path, make_png: Callable[..., bytes]) -> None:
    """A job of another service runs on, one that waits is kept for the next sampler, and Serve is not told that the worker is ill."""

    async def main() -> None:
        places = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
        store, blobs = JobStore(places[0]), Blobs(places[1])
        background = blobs.put(make_png())
        order = LayerOrder(width=48, height=32, background=background, box=(8, 4, 40, 28), prompt="a ball", seed=7, steps=5)

        async def ordered() -> str:
            new = NewJob("ann", "layer", order.model_dump(mode="json"), MODEL, "fake-fake", blobs=order.blobs)
            outcome = await store.submit(new)
            assert isinstance(outcome, Accepted)
            return outcome.job.id

        others = await ordered()
        await store.claim("elsewhere", Wanted(DRAWN_KINDS), 1, 3600)
        sampler = Sampler(SamplerSettings(*places, "bfs_serve.model.fake:FakeEngine", grace_s=60))
        await sampler.reconfigure({"models": [MODEL], "follow_s": 0})
        own, waiting = await ordered(), await ordered()
        while (await store.depth()).running < 2:
            await asyncio.sleep(0.02)
        assert await sampler.drain() == 1
        while await sampler.drain():
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)  # longer than a worker waits for work
        jobs = [await store.get("ann", job) for job in (others, own, waiting)]
        assert [job.status for job in jobs if job] == [RUNNING, SUCCEEDED, QUEUED]
        sampler.check_health()
        await asyncio.wait_for(sampler.close(), 10)
        store.close()

    asyncio.run(main())


def test_what_is_not_finished_in_time_goes_back_at_once(tmp_path: Path, make_png: Callable[..., bytes]) -> None:
    """Another sampler need not wait for a lease to run out, and no loss is counted."""

    async def main() -> None:
        places = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
        store, blobs = JobStore(places[0]), Blobs(places[1])
        order = LayerOrder(width=48, height=32, background=blobs.put(make_png()), box=(8, 4, 40, 28), prompt="a", seed=7, steps=200)
        sampler = Sampler(SamplerSettings(*places, "bfs_serve.model.fake:FakeEngine", lease_s=3600, grace_s=0))
        await sampler.reconfigure({"models": [MODEL], "follow_s": 0})
        assert await store.holders("worker:") == 1, "a replica that is ready is not known yet"
        accepted = await store.submit(NewJob("ann", "layer", order.model_dump(mode="json"), MODEL, "fake-fake", blobs=order.blobs))
        assert isinstance(accepted, Accepted)
        while not (await store.depth()).running:
            await asyncio.sleep(0.02)
        await sampler.close()
        job = await store.get("ann", accepted.job.id)
        assert job is not None and job.status == QUEUED
        async for event in store.events("ann", job.id, job.num_events - 1):
            assert event.data == {"reason": "the worker is being stopped"}
            break
        assert await store.hold(f"follow:{MODEL}", "another", 1) and await store.holders("worker:") == 0
        await store.cancel("ann", accepted.job.id)
        store.close()

    asyncio.run(main())


def test_an_application_that_ends_gives_its_exports_back(
    tmp_path: Path, make_png: Callable[..., bytes], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need not wait for its lease, and no loss is counted."""
    composing, ended = threading.Event(), threading.Event()

    def draw(task: ExportTask, *_: object) -> None:
        composing.set()
        ended.wait(60)

    monkeypatch.setattr(ExportTask, "draw", draw)
    places = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
    store, blobs = JobStore(places[0]), Blobs(places[1])
    composer = Worker("composer", store, blobs, WorkerSettings(Wanted((ExportOrder.kind,)), lease_s=3600))
    background, ending = (composer.run,), (functools.partial(composer.leave, 0.1),)
    app = create_app(Service(store, blobs, pictures, ["fake"]), background=background, ending=ending)
    try:
        with TestClient(app) as client:
            posted = client.post("/v1/exports", files={"document": make_png()})
            assert posted.status_code == 202 and composing.wait(30)
        afterwards = JobStore(places[0])
        job = asyncio.run(afterwards.get("local", posted.json()["id"]))
        afterwards.close()
    finally:
        ended.set()
    assert job is not None and job.status == QUEUED
