"""Reading server-sent events (WHATWG HTML §9.2.6), as far as this service sends them."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job: queued, started, progress, preview, then succeeded, failed or canceled. `data` is JSON."""

    id: str
    name: str
    data: dict[str, Any]


async def events(lines: AsyncIterator[str], alive: Callable[[], None]) -> AsyncIterator[Event]:
    """The events in a stream of lines; comments and what is cut off at its end are passed over. `alive` is called for every line."""
    fields: dict[str, str] = {}
    async for line in lines:
        alive()
        if not line:
            if "data" in fields:
                yield Event(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
