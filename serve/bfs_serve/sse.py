"""Job events as server-sent events (WHATWG HTML §9.2), with ids to resume from and pings to keep the line open."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from bfs_serve.orders import Event

PING_S = 15.0


async def stream(events: AsyncGenerator[Event, None], ping_s: float = PING_S) -> AsyncIterator[bytes]:
    """Encode events as they come; a comment when none came for `ping_s`. Closing it closes `events`."""
    async with aclosing(events) as source:
        pending = asyncio.ensure_future(anext(source))
        try:
            while True:
                done, _ = await asyncio.wait([pending], timeout=ping_s)
                if not done:
                    yield KEEPALIVE_COMMENT
                    continue
                try:
                    event = pending.result()
                except StopAsyncIteration:
                    return
                yield format_sse_event(data_str=json.dumps(event.data), event=event.name, id=str(event.id))
                pending = asyncio.ensure_future(anext(source))
        finally:
            if pending.cancel():
                await asyncio.wait([pending])


def last_event_id(header: str | None) -> int:
    """The id to resume after; 0 when there is none or it is not one of ours."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else 0
