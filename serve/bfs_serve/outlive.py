"""Work that goes on when the request that began it is canceled."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")

_running: set[asyncio.Task[Any]] = set()  # the event loop itself holds its tasks only weakly


def outliving(work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
    """Start `work` on its own. Await it through `asyncio.shield`, or not at all.

    Its context is empty: Serve finds the calls of a canceled request through the context they were made in, and cancels them too,
    shielded or not (`Replica._on_request_cancelled`).
    """
    task = asyncio.create_task(work, context=contextvars.Context())
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task
