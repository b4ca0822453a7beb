"""The coordinator over a scripted sampler: queue bound, retries, idempotency, cancellation, closing."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from bfs_serve.coordinator import Coordinator, Limits, SamplerBusy, SamplerLost
from bfs_serve.orders import Drawing, ModelInfo, Order, Sampled
from bfs_serve.problems import Problem

MODEL = ModelInfo("fake", "1" * 64)
REQUEST: ContextVar[str | None] = ContextVar("request", default=None)
Script = list[Sampled | Exception]
DONE: Script = ["started", (1, 1), Drawing(b"layer", 7, MODEL, 0.1)]


class ScriptedSampler:
    """Plays one script per attempt; each waits for `gate` before it begins."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.gate = asyncio.Event()
        self.gate.set()
        self.num_open = self.num_attempts = 0
        self.awake = True
        self.requests_seen: list[str | None] = []

    async def sample(self, order: Order) -> AsyncGenerator[Sampled, None]:
        script = self.scripts[min(self.num_attempts, len(self.scripts) - 1)]
        self.num_attempts += 1
        self.num_open += 1
        self.requests_seen.append(REQUEST.get())
        try:
            await self.gate.wait()
            for item in script:
                if isinstance(item, Exception):
                    raise item
                yield item
                await asyncio.sleep(0)
        finally:
            self.num_open -= 1

    async def info(self) -> ModelInfo:
        if not self.awake:
            await asyncio.sleep(3600)
        return MODEL


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 20))


async def submit(coordinator: Coordinator, order: Order, **options: Any) -> dict[str, Any]:
    view = await coordinator.submit("ann", order, **options)
    assert isinstance(view, dict), view
    return view


def test_events_of_a_job_in_order(order: Order) -> None:
    """queued, started, progress, succeeded; ids count from 1; a late reader gets the rest."""

    async def main() -> None:
        coordinator = Coordinator(ScriptedSampler(DONE), Limits())
        job = await submit(coordinator, order)
        events = [event async for event in coordinator.events("ann", job["id"])]
        assert [(e.id, e.name) for e in events] == [(1, "queued"), (2, "started"), (3, "progress"), (4, "succeeded")]
        assert [e.id async for e in coordinator.events("ann", job["id"], after=3)] == [4]
        assert [e.id async for e in coordinator.events("ann", job["id"], after=4)] == []
        assert [e.id async for e in coordinator.events("bob", job["id"])] == []

    run(main)


def test_a_job_does_not_belong_to_the_request_that_brought_it(order: Order) -> None:
    """Serve keeps the current request in context variables and cancels what was started under it."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        coordinator = Coordinator(sampler, Limits())
        REQUEST.set("the request")
        await coordinator.wait("ann", (await submit(coordinator, order))["id"], 5)
        assert sampler.requests_seen == [None]

    run(main)


def test_a_lost_worker_is_survived_once(order: Order) -> None:
    """The same order, seed included, is drawn again; the second loss ends the job as retryable."""

    async def main() -> None:
        sampler = ScriptedSampler(["started", SamplerLost("killed")], DONE)
        coordinator = Coordinator(sampler, Limits())
        job = await submit(coordinator, order)
        view = await coordinator.wait("ann", job["id"], 5)
        assert view is not None and view["status"] == "succeeded" and sampler.num_attempts == 2
        assert [e.name async for e in coordinator.events("ann", job["id"])][:4] == ["queued", "started", "queued", "started"]
        assert b"bfs_jobs_retried_total 1.0" in await coordinator.metrics()

        sampler = ScriptedSampler(["started", SamplerLost("killed")])
        coordinator = Coordinator(sampler, Limits())
        view = await coordinator.wait("ann", (await submit(coordinator, order))["id"], 5)
        assert view is not None and view["problem"]["status"] == 503 and sampler.num_attempts == 2

    run(main)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([Problem("invalid", "No.")], 422),
        ([SamplerBusy("full")], 503),
        ([RuntimeError("a bug")], 500),
        (["started"], 503),  # the stream ends without an end
    ],
    ids=["refused", "busy", "bug", "cut"],
)
def test_every_end_is_a_problem_with_its_status(order: Order, script: Script, status: int) -> None:
    """A job always reaches a final state, and an inner error shows nothing of itself."""

    async def main() -> None:
        coordinator = Coordinator(ScriptedSampler(script), Limits())
        view = await coordinator.wait("ann", (await submit(coordinator, order))["id"], 5)
        assert view is not None and view["status"] == "failed" and view["problem"]["status"] == status
        assert "a bug" not in str(view)
        result = await coordinator.result("ann", view["id"])
        assert isinstance(result, Problem) and result.status == status

    run(main)


def test_a_full_queue_refuses_at_once(order: Order) -> None:
    """With Retry-After, and the refused job leaves no trace."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        sampler.gate.clear()
        coordinator = Coordinator(sampler, Limits(max_queued=2))
        jobs = [await submit(coordinator, order) for _ in range(2)]
        assert [job["queue_position"] for job in jobs] == [0, 1]
        refusal = await coordinator.submit("ann", order)
        assert isinstance(refusal, Problem) and refusal.status == 503
        assert refusal.retry_after_s is not None and 1 <= refusal.retry_after_s <= 60
        sampler.gate.set()
        for job in jobs:
            await coordinator.wait("ann", job["id"], 5)
        assert isinstance(await coordinator.submit("ann", order), dict)
        assert b'bfs_jobs_refused_total{reason="busy"} 1.0' in await coordinator.metrics()

    run(main)


def test_idempotency_key_gives_the_same_job_or_a_refusal(order: Order) -> None:
    """Same key and request: same job, drawn once. Other request: 422. A seed that we drew is not part of the request."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        coordinator = Coordinator(sampler, Limits())
        first = await submit(coordinator, order, key="k", explicit_seed=False)
        again = await submit(coordinator, dataclasses.replace(order, seed=99), key="k", explicit_seed=False)
        assert (again["id"], again["seed"]) == (first["id"], order.seed)
        other = await coordinator.submit("ann", dataclasses.replace(order, prompt="a cube"), key="k", explicit_seed=False)
        assert isinstance(other, Problem) and other.slug == "idempotency-key-reused"
        assert isinstance(await coordinator.submit("ann", order, key="k"), Problem)
        bobs = await coordinator.submit("bob", order, key="k")
        assert isinstance(bobs, dict) and bobs["id"] != first["id"]
        await coordinator.wait("ann", first["id"], 5)
        assert sampler.num_attempts == 2

    run(main)


def test_cancel_stops_the_sampler_and_keeps_the_job_visible(order: Order) -> None:
    """The stream is closed at once; a second DELETE forgets the job."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        sampler.gate.clear()
        coordinator = Coordinator(sampler, Limits())
        job = await submit(coordinator, order)
        await asyncio.sleep(0.01)
        assert sampler.num_open == 1
        view = await coordinator.cancel("ann", job["id"])
        assert view is not None and view["status"] == "canceled"
        await asyncio.sleep(0.01)
        assert sampler.num_open == 0
        result = await coordinator.result("ann", job["id"])
        assert isinstance(result, Problem) and result.slug == "canceled"
        assert await coordinator.cancel("bob", job["id"]) is None
        assert await coordinator.look("ann", job["id"]) is not None
        assert await coordinator.cancel("ann", job["id"]) is None
        assert await coordinator.look("ann", job["id"]) is None

    run(main)


def test_ready_needs_an_answering_worker_or_one_at_work(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent worker makes the service not ready, unless it is silent because it draws."""
    monkeypatch.setattr("bfs_serve.coordinator.PROBE_S", 0.05)

    async def main() -> None:
        sampler = ScriptedSampler(["started", *DONE])
        coordinator = Coordinator(sampler, Limits())
        assert await coordinator.ready() is None and await coordinator.models() == [MODEL]
        sampler.awake = False
        problem = await coordinator.ready()
        assert problem is not None and problem.status == 503
        job = await submit(coordinator, order)
        async for event in coordinator.events("ann", job["id"]):
            if event.name == "started":
                assert await coordinator.ready() is None
                break

    run(main)


def test_what_the_model_cannot_do_is_refused_before_it_is_queued(order: Order) -> None:
    """A reference needs a model that takes one."""

    async def main() -> None:
        coordinator = Coordinator(ScriptedSampler(DONE), Limits())
        await coordinator.ready()
        refusal = await coordinator.submit("ann", dataclasses.replace(order, reference=b"picture", split_effects=True))
        assert isinstance(refusal, Problem) and refusal.slug == "unsupported-by-model"
        assert [error["pointer"] for error in refusal.errors] == ["/reference"]

    run(main)


def test_a_model_that_was_replaced_is_looked_at_again(order: Order) -> None:
    """What the last one could not do is not held against the next."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        coordinator = Coordinator(sampler, Limits())
        await coordinator.ready()

        async def better() -> ModelInfo:
            return dataclasses.replace(MODEL, capabilities=("reference",))

        sampler.info = better  # type: ignore[method-assign]
        accepted = await coordinator.submit("ann", dataclasses.replace(order, reference=b"picture"))
        assert not isinstance(accepted, Problem) and accepted["status"] == "queued"
        await coordinator.wait("ann", accepted["id"], 5)

    run(main)


def test_close_waits_for_work_and_then_cancels_it(order: Order) -> None:
    """New orders are refused at once; what does not end in time is canceled."""

    async def main() -> None:
        sampler = ScriptedSampler(DONE)
        coordinator = Coordinator(sampler, Limits())
        done = await submit(coordinator, order)
        assert await coordinator.close(5) == 0
        view = await coordinator.look("ann", done["id"])
        assert view is not None and view["status"] == "succeeded"
        refusal = await coordinator.submit("ann", order)
        assert isinstance(refusal, Problem) and refusal.slug == "not-ready" and await coordinator.ready() is not None

        sampler.gate.clear()
        coordinator = Coordinator(sampler, Limits())
        stuck = await submit(coordinator, order)
        assert await coordinator.close(0.05) == 1
        view = await coordinator.look("ann", stuck["id"])
        assert view is not None and view["status"] == "canceled"

    run(main)
