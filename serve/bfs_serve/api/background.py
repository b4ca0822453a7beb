"""Work that goes on when the request that began it is canceled."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")

_running: set[asyncio.Task[Any]] = set()  # the event loop itself holds its tasks only weakly


def start(work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
    """Start `work` on its own, in an empty context. Await it through `asyncio.shield`, or not at all."""
    task = asyncio.create_task(work, context=contextvars.Context())
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task
