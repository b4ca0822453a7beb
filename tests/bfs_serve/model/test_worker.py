"""A worker over a real store and the fake engine: what it makes of good jobs, bad ones, and of being in trouble."""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from PIL import Image

from bfs_platform.registry.store import Unreachable
from bfs_serve.job.engine import Engine, Generation, OnStep, Pin, Request, Settings
from bfs_serve.job.orders import DRAWN_KINDS, LayerOrder
from bfs_serve.job.results import result_of
from bfs_serve.model.fake import FakeEngine
from bfs_serve.model.models import smoke_picture
from bfs_serve.model.worker import NotLoaded, Worker, WorkerSettings, failure
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.intake import Accepted
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import FAILED, QUEUED, RUNNING, SUCCEEDED, Job, NewJob, Wanted


class Noting(FakeEngine):
    """The fake engine, which notes when it draws what, and how many at once."""

    def __init__(self, name: str, pin: Pin) -> None:
        super().__init__(name, pin)
        self.calls: list[int] = []
        self.last_step = 0.0
        self.threads: set[str] = set()

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        self.calls.append(len(requests))
        self.threads.add(threading.current_thread().name)

        def noted(done: int, total: int, preview: Any) -> None:
            self.last_step = time.monotonic()
            on_step(done, total, preview)

        return super().draw(requests, settings, noted, canceled)


@dataclass
class Shop:
    """A store, its blobs, an engine, and a worker."""

    store: JobStore
    blobs: Blobs
    engine: Noting
    worker: Worker
    background: str

    async def order(self, **changes: Any) -> str:
        plain = {"width": 48, "height": 32, "background": self.background, "box": (8, 4, 40, 28), "prompt": "a ball", "seed": 7}
        order = LayerOrder(**({**plain, "steps": 3} | changes))
        new = NewJob("ann", "layer", order.model_dump(mode="json"), "fake", "v", batch=str(order.settings or ""), blobs=order.blobs)
        outcome = await self.store.submit(new)
        assert isinstance(outcome, Accepted)
        return outcome.job.id

    async def end_of(self, job_id: str) -> Job:
        job = await self.store.wait("ann", job_id, 30)
        assert job is not None and job.is_finished, job
        return job

    async def loses(self, job_id: str) -> None:
        """Wait until the worker says that it is stalled, and its job is queued again."""
        while not self.worker.is_stalled:
            await asyncio.sleep(0.05)
        while not await self.store.recover():
            await asyncio.sleep(0.1)
        job = await self.store.get("ann", job_id)
        assert job is not None and (job.status, job.attempt) == (QUEUED, 1)

    def layer(self, job: Job) -> bytes:
        return self.blobs.get(result_of(job).pictures[0].layer)


Story = Callable[[Shop], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path, make_png: Callable[..., bytes]) -> Callable[..., None]:
    """Runs a story beside a running worker: (story, model, worker settings)."""

    def run(story: Story, model: str = "fake", **settings: Any) -> None:
        async def main() -> None:
            store, blobs = JobStore(str(tmp_path / "jobs.db")), Blobs(str(tmp_path / "blobs"))
            engine = Noting(model, Pin(model, "v"))

            async def engine_of(name: str, version: str) -> Engine:
                return engine

            worker = Worker("w", store, blobs, WorkerSettings(Wanted(DRAWN_KINDS), **({"lease_s": 5.0} | settings)), engine_of)
            shop = Shop(store, blobs, engine, worker, blobs.put(make_png()))
            running = asyncio.create_task(worker.run())
            try:
                await asyncio.wait_for(story(shop), 60)
            finally:
                await worker.stop(0.2)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                store.close()

        asyncio.run(main())

    return run


def test_a_job_becomes_a_layer(play: Callable[..., None]) -> None:
    """RGBA of the canvas' size, clear outside the box; the same order gives the same bytes; one thread draws."""

    async def story(shop: Shop) -> None:
        first, second = [await shop.end_of(await shop.order()) for _ in range(2)]
        layer = np.asarray(Image.open(io.BytesIO(shop.layer(first))))
        assert layer.shape == (32, 48, 4) and layer[:4, :, 3].max() == 0 and layer[16, 24, 3] == 255
        assert shop.layer(first) == shop.layer(second) and len(shop.engine.threads) == 1
        names = [event.name async for event in shop.store.events("ann", first.id)]
        assert names[:2] == ["queued", "started"] and names[-1] == "succeeded" and "progress" in names

    play(story)


@pytest.mark.parametrize(
    ("changes", "slug", "retryable"),
    [({"prompt": "fail"}, "internal", True), ({"prompt": "refuse"}, "invalid", False), ({"background": "0" * 64}, "interrupted", True)],
    ids=["bug", "bad input", "lost picture"],
)
def test_what_goes_wrong_ends_that_job_alone(play: Callable[..., None], changes: dict[str, Any], slug: str, retryable: bool) -> None:
    """The next one is drawn."""

    async def story(shop: Shop) -> None:
        failed = await shop.end_of(await shop.order(**changes))
        assert failed.status == FAILED and failed.outcome is not None and failed.outcome["slug"] == slug
        assert "told to fail" not in str(failed.outcome)
        assert (await shop.end_of(await shop.order())).status == SUCCEEDED

    play(story)


def test_a_model_that_cannot_be_loaded_is_not_the_callers_fault(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: the job may be sent again, and nothing of where models come from is told."""

    async def story(shop: Shop) -> None:
        causes = [Unreachable("registry", "http://secret.example", "cannot be reached", "check it"), MemoryError()]
        monkeypatch.setattr(shop.worker, "_engine_of", AsyncMock(side_effect=[*causes, shop.engine]))
        for _ in causes:
            job = await shop.end_of(await shop.order())
            assert (
                job.status == FAILED and job.outcome is not None and job.outcome["slug"] == "interrupted" and failure(NotLoaded()).retryable
            )
            assert "secret" not in str(job.outcome)
        assert (await shop.end_of(await shop.order())).status == SUCCEEDED

    play(story)


def test_a_model_that_is_loaded_for_ever_loses_its_job(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung disk or registry is as good as a lost worker: it beats no more, and says so to whoever asks after its health."""

    async def story(shop: Shop) -> None:
        async def never(name: str, version: str) -> Engine:
            await asyncio.sleep(3600)
            raise AssertionError

        monkeypatch.setattr(shop.worker, "_engine_of", never)
        job_id = await shop.order()
        await shop.loses(job_id)
        assert shop.worker.is_stalled

    play(story, stall_s=0.05, lease_s=1.0)


def test_an_order_that_cannot_be_read_ends(play: Callable[..., None]) -> None:
    """One of a later version of the service: its job fails and may be sent again, the worker holds nothing, the next one is drawn."""

    async def story(shop: Shop) -> None:
        outcome = await shop.store.submit(NewJob("ann", "layer", {"of": "tomorrow"}, "fake", "v"))
        assert isinstance(outcome, Accepted)
        job = await shop.end_of(outcome.job.id)
        assert job.status == FAILED and job.attempt == 1 and job.outcome is not None and job.outcome["slug"] == "internal"
        assert (await shop.end_of(await shop.order())).status == SUCCEEDED
        await shop.worker.stop(30)
        assert shop.worker.num_held == 0

    play(story)


def test_candidates_have_seeds_that_follow_each_other(play: Callable[..., None]) -> None:
    """And each is what its seed gives alone."""

    async def story(shop: Shop) -> None:
        several = await shop.end_of(await shop.order(candidates=3, seed=2**32 - 1))
        pictures = result_of(several).pictures
        assert [picture.seed for picture in pictures] == [2**32 - 1, 0, 1]
        alone = await shop.end_of(await shop.order(seed=0))
        assert shop.blobs.get(pictures[1].layer) == shop.layer(alone)

    play(story)


def test_jobs_of_equal_settings_are_drawn_at_once(play: Callable[..., None]) -> None:
    """With the same bytes as alone."""

    async def story(shop: Shop) -> None:
        first = await shop.order(seed=1)
        ids = [await shop.order(seed=seed) for seed in (2, 3, 4)] + [await shop.order(seed=5, steps=4)]
        jobs = [await shop.end_of(job_id) for job_id in [first, *ids]]
        assert 1 < max(shop.engine.calls) <= 3 and sum(shop.engine.calls) == 5
        alone = await shop.end_of(await shop.order(seed=3))
        assert shop.layer(jobs[2]) == shop.layer(alone)

    play(story, "fake?step_s=0.1", batch=3)


def test_one_that_is_refused_costs_the_others_of_its_batch_nothing(play: Callable[..., None]) -> None:
    """They are drawn each for itself then."""

    async def story(shop: Shop) -> None:
        first = await shop.order(seed=1, steps=20)  # while it is drawn, the others come together
        ids = [await shop.order(seed=seed, prompt=prompt) for seed, prompt in ((2, "a ball"), (3, "refuse"), (4, "a ball"))]
        jobs = [await shop.end_of(job_id) for job_id in [first, *ids]]
        assert 3 in shop.engine.calls
        assert [job.status for job in jobs] == [SUCCEEDED, SUCCEEDED, FAILED, SUCCEEDED]

    play(story, "fake?step_s=0.1", batch=3)


def test_canceling_stops_the_drawing_within_a_step(play: Callable[..., None]) -> None:
    """And the worker goes on with the next job."""

    async def story(shop: Shop) -> None:
        job_id = await shop.order(steps=500)
        while not (job := await shop.store.get("ann", job_id)) or not job.step:
            await asyncio.sleep(0.02)
        assert await shop.store.cancel("ann", job_id)
        canceled_at = time.monotonic()
        assert (await shop.end_of(await shop.order())).status == SUCCEEDED
        assert shop.engine.calls == [1, 1] and time.monotonic() - canceled_at < 20

    play(story, "fake?step_s=0.05")


def test_a_hung_model_loses_its_job_to_another_worker(play: Callable[..., None]) -> None:
    """It beats no more once a step takes longer than it may, and says so to whoever asks after its health."""

    async def story(shop: Shop) -> None:
        job_id = await shop.order(prompt="hang")
        await shop.loses(job_id)
        assert shop.worker.is_stalled
        await shop.store.cancel("ann", job_id)

    play(story, stall_s=0.5, lease_s=1.0)


def test_a_worker_that_stops_gives_back_what_it_has_not_begun(play: Callable[..., None]) -> None:
    """What it draws it ends, if that does not take too long."""

    async def story(shop: Shop) -> None:
        first, second = await shop.order(steps=6), await shop.order()
        while not (job := await shop.store.get("ann", first)) or job.status != RUNNING:
            await asyncio.sleep(0.02)
        await shop.worker.stop(20)
        jobs = [await shop.store.get("ann", job_id) for job_id in (first, second)]
        assert [job.status for job in jobs if job] == [SUCCEEDED, QUEUED]

    play(story, "fake?step_s=0.1")


def test_previews_come_while_a_slow_job_is_drawn(play: Callable[..., None]) -> None:
    """Small pictures in events, for who follows them."""

    async def story(shop: Shop) -> None:
        job_id = await shop.order(steps=4)
        await shop.end_of(job_id)
        previews = [event.data["image"] async for event in shop.store.events("ann", job_id) if event.name == "preview"]
        assert previews and all(preview.startswith("data:image/webp;base64,") for preview in previews)

    play(story, "fake?step_s=0.7")


def test_the_end_of_a_job_waits_for_a_store_that_is_away(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that was drawn is not thrown away for a database that restarts."""

    async def story(shop: Shop) -> None:
        real, failures = shop.store.finish, [ConnectionError("away")] * 2

        async def finish(*args: Any) -> bool:
            if failures:
                raise failures.pop()
            return await real(*args)

        monkeypatch.setattr(shop.store, "finish", finish)
        assert (await shop.end_of(await shop.order())).status == SUCCEEDED and not failures

    play(story, lease_s=30.0)


def test_trouble_with_the_next_job_is_none_of_the_one_being_drawn(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is away when the last step begins: what is drawn then is delivered all the same, and the next job after it."""

    async def story(shop: Shop) -> None:
        real, failures = shop.store.next, [ConnectionError("away")]

        async def next_(worker: str, wanted: Wanted, count: int, lease_s: float, patience_s: float) -> Any:
            if patience_s == 0 and failures:
                raise failures.pop()
            return await real(worker, wanted, count, lease_s, patience_s)

        monkeypatch.setattr(shop.store, "next", next_)
        ids = [await shop.order() for _ in range(2)]
        assert [(await shop.end_of(job_id)).attempt for job_id in ids] == [1, 1] and not failures

    play(story, lease_s=30.0)


def test_an_engine_that_breaks_after_drawing_fails_its_job(play: Callable[..., None]) -> None:
    """It does not hold it for ever."""

    async def story(shop: Shop) -> None:
        def counted() -> Any:
            raise RuntimeError("broken")

        shop.engine.counted = counted  # type: ignore[method-assign]
        assert (await shop.end_of(await shop.order())).status == FAILED

    play(story)


def test_what_is_drawn_does_not_wait_for_the_model_of_the_next_job(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is being loaded for a job that was claimed at the last step: the one before it has ended long since."""

    async def story(shop: Shop) -> None:
        may_load, loading, num_loaded = asyncio.Event(), asyncio.Event(), 0

        async def engine_of(name: str, version: str) -> Engine:
            nonlocal num_loaded
            num_loaded += 1
            if num_loaded == 2:
                loading.set()
                await may_load.wait()
            return shop.engine

        monkeypatch.setattr(shop.worker, "_engine_of", engine_of)
        first, second = [await shop.order() for _ in range(2)]
        await loading.wait()
        assert (await shop.end_of(first)).status == SUCCEEDED
        may_load.set()
        assert (await shop.end_of(second)).status == SUCCEEDED

    play(story, "fake?step_s=0.05")


def test_an_engine_draws_one_thing_at_a_time(play: Callable[..., None]) -> None:
    """The smoke picture of a follower waits for the job that is being drawn, and the next job for it."""

    async def story(shop: Shop) -> None:
        job_id = await shop.order(steps=20)
        while not (job := await shop.store.get("ann", job_id)) or not job.step:
            await asyncio.sleep(0.01)
        smoke = asyncio.create_task(asyncio.to_thread(smoke_picture, shop.engine))
        await asyncio.sleep(0.2)
        assert not smoke.done() and shop.engine.calls == [1]
        assert (await shop.end_of(job_id)).status == SUCCEEDED
        await smoke
        assert shop.engine.calls == [1, 1]

    play(story, "fake?step_s=0.1")


def test_a_lease_that_was_lost_ends_nothing(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing is broken off because another worker is to have the job, which is then no failure of this one."""

    async def story(shop: Shop) -> None:
        finished, real_finish, real_beat = [], shop.store.finish, shop.store.beat

        async def finish(job_id: str, attempt: int, outcome: Any) -> bool:
            finished.append((attempt, outcome.succeeded))
            return await real_finish(job_id, attempt, outcome)

        async def beat(job_id: str, attempt: int, *others: Any, **progress: Any) -> bool:
            return attempt > 1 and await real_beat(job_id, attempt, *others, **progress)

        monkeypatch.setattr(shop.store, "finish", finish)
        monkeypatch.setattr(shop.store, "beat", beat)
        job = await shop.end_of(await shop.order(steps=40))
        assert (job.status, job.attempt) == (SUCCEEDED, 2) and finished == [(2, True)]

    play(story, "fake?step_s=0.05", lease_s=1.0)
