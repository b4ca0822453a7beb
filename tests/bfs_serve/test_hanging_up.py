"""A caller that hangs up, on a backend that cancels what a canceled request began, as Serve's replicas do."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from bfs_serve.coordinator import Coordinator, Limits
from bfs_serve.fake import FakeEngine
from bfs_serve.ingress import create_app
from bfs_serve.sampler import Sampler

FIELDS = {"box": "8,4,40,28", "prompt": "a red ball", "steps": "100"}
DELAY_S = 0.05
_request: contextvars.ContextVar[str | None] = contextvars.ContextVar("request", default=None)


class LikeServe(Coordinator):
    """A coordinator some way off. Calls made in the context of the request can be canceled from outside."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler, Limits())
        self.calls: list[str] = []
        self._children: set[asyncio.Task[Any]] = set()

    def cancel_children(self) -> None:
        for task in self._children:
            task.cancel()

    async def _travel(self, name: str) -> None:
        self.calls.append(name)
        if _request.get() is not None:
            self._children.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one: this coroutine's
        await asyncio.sleep(DELAY_S)

    async def submit(self, *args: Any, **kwargs: Any) -> Any:
        answer = await super().submit(*args, **kwargs)
        await self._travel("submit")  # the way back: the job is there already
        return answer

    async def cancel(self, owner: str, job_id: str) -> dict[str, Any] | None:
        await self._travel("cancel")
        return await super().cancel(owner, job_id)


@pytest.mark.parametrize("during", ["submit", "wait"])
@pytest.mark.parametrize("key", [None, "a key to ask again by"])
def test_hanging_up_cancels_the_job_unless_it_can_be_asked_for_again(make_png: Callable[..., bytes], during: str, key: str | None) -> None:
    """While the order is on its way, and while its result is waited for."""

    async def hang_up() -> str:
        sampler = Sampler(FakeEngine)
        await sampler.reconfigure({"model": "fake?step_s=0.05", "follow_s": 0})
        backend = LikeServe(sampler)
        jobs = backend._store
        transport = httpx2.ASGITransport(create_app(backend))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            _request.set("1")
            headers = {"Prefer": "wait=30"} | ({"Idempotency-Key": key} if key else {})
            asking = asyncio.create_task(client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers=headers))
            while not (backend.calls if during == "submit" else jobs.count("running")):
                await asyncio.sleep(0.005)
            asking.cancel()
            await asyncio.sleep(0.005)
            backend.cancel_children()
            await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(4 * DELAY_S)
        unfinished = [job.status for job in jobs.unfinished()]
        await backend.close(0)
        return unfinished[0] if unfinished else "canceled"

    assert asyncio.run(hang_up()) == ("running" if key else "canceled")
