"""Job events as server-sent events (WHATWG HTML §9.2), with ids to resume from and pings to keep the line open."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from bfs_serve.problems import Problem
from bfs_serve.store.records import FAILED, SUCCEEDED, Event

PING_S = 15.0


async def stream(events: AsyncGenerator[Event, None], job_id: str, ping_s: float = PING_S) -> AsyncIterator[bytes]:
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
                yield format_sse_event(data_str=json.dumps(shown(event, job_id)), event=event.name, id=str(event.id))
                pending = asyncio.ensure_future(anext(source))
        finally:
            if pending.cancel():
                await asyncio.wait([pending])


def shown(event: Event, job_id: str) -> dict[str, Any]:
    """What a follower sees of an event of this job."""
    path = f"/v1/jobs/{job_id}"
    if event.name == SUCCEEDED:
        return event.data | {"result": f"{path}/result"}
    if event.name == FAILED:
        return {"problem": Problem.restored(event.data["problem"]).body(path)}
    return event.data


def last_event_id(header: str | None) -> int:
    """The id to resume after; 0 when there is none or it is not one of ours."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else 0
