"""A call that is given up takes its job along."""

import asyncio
import os
import signal
import threading
import time

import pytest
from live_service import LiveService, lost_answer

from bfs_platform.client import AsyncBFSClient, BFSClient
from bfs_platform.client.events import Event

from .conftest import SLOW, png

BOX = (8, 4, 40, 28)


def _status_of_the_only_job(client: BFSClient) -> str:
    (job,) = client.jobs()
    return job.status


def test_a_canceled_call_cancels_its_job(service: LiveService, client: BFSClient) -> None:
    """As `asyncio` cancels, by hand or by a timeout."""

    async def given_up() -> None:
        async with AsyncBFSClient(service.url) as client, asyncio.timeout(1):
            await client.draw(png(), BOX, "a ball", steps=100, model=SLOW)

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
    assert _status_of_the_only_job(client) == "canceled"


def test_a_call_canceled_before_its_job_is_known(service: LiveService, client: BFSClient) -> None:
    """The answer that names the job is lost: the key finds it, and it is canceled."""
    service.faults["POST", "/v1/layers"] = [lost_answer]

    async def given_up() -> None:
        async with AsyncBFSClient(service.url, on_wait=lambda reason: drawing.cancel()) as client:
            drawing = asyncio.create_task(client.draw(png(), BOX, "a ball", steps=100, model=SLOW))
            with pytest.raises(asyncio.CancelledError):
                await drawing

    asyncio.run(given_up())
    assert _status_of_the_only_job(client) == "canceled"


def test_ctrl_c_cancels_the_job(service: LiveService) -> None:
    """The blocking client as well; afterwards it goes on working."""

    def interrupt(event: Event) -> None:
        if event.name == "started":
            os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with BFSClient(service.url) as client:
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.draw(png(), BOX, "a ball", steps=200, model=SLOW, on_event=interrupt)
        assert time.monotonic() - begin < 20
        assert _status_of_the_only_job(client) == "canceled"
        assert client.draw(png(), BOX, "a ball").status == "succeeded"


def test_breaking_off_events_leaves_the_job_alone(service: LiveService, client: BFSClient) -> None:
    """Who only follows does not own it."""
    job = client.start("layers", {"background": png()}, {"box": "8,4,40,28", "prompt": "a ball", "steps": 5, "model": SLOW})
    for event in client.events(job.id):
        assert event.name == "queued"
        break
    assert list(client.events(job.id))[-1].name == "succeeded"
