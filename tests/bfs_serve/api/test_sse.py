"""Server-sent events on the wire."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bfs_serve.api.answer.sse import last_event_id, stream
from bfs_serve.store.records import Event


def test_events_are_framed_and_silence_is_filled() -> None:
    """Name, data and id per event; a comment when nothing happens; the end of the events ends the stream."""

    async def events() -> AsyncGenerator[Event, None]:
        yield Event(1, "queued", {"position": 0})
        await asyncio.sleep(0.15)
        yield Event(2, "succeeded")

    async def main() -> list[bytes]:
        return [chunk async for chunk in stream(events(), "j", ping_s=0.1)]

    chunks = asyncio.run(main())
    assert chunks == [
        b'event: queued\ndata: {"position": 0}\nid: 1\n\n',
        b": ping\n\n",
        b'event: succeeded\ndata: {"result": "/v1/jobs/j/result"}\nid: 2\n\n',
    ]


def test_a_reader_that_leaves_closes_the_source() -> None:
    """Nothing waits for a client that is gone."""
    closed = []

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield Event(1, "queued")
            await asyncio.sleep(3600)
        finally:
            closed.append(True)

    async def main() -> None:
        reader = stream(events(), "j")
        await anext(reader)
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        await reader.aclose()
        assert closed == [True] and waiting.cancelled()

    asyncio.run(asyncio.wait_for(main(), 5))


@pytest.mark.parametrize(("header", "number"), [(None, 0), ("", 0), ("3", 3), ("-1", 0), ("x", 0), ("9" * 30, 0), ("٣", 0)])
def test_last_event_id_is_ours_or_nothing(header: str | None, number: int) -> None:
    """An id that we never gave starts from the beginning."""
    assert last_event_id(header) == number
