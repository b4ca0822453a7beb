"""Refusing work at the guard for a moment after the service had no room for it."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from bfs_serve.edge.admission import FOR_ALL, FOR_CALLER, HEADER, Admission
from bfs_serve.guard import Guard

from .inside import LIMITS, ask


def test_a_full_queue_is_remembered_for_a_moment() -> None:
    """For everybody, or for the caller whose own jobs fill it; what else an answer says is not."""
    now = [0.0]
    admission = Admission(pause_s=0.25, clock=lambda: now[0])
    admission.heard("ann", None, accepted=False)
    assert admission.refusal("ann") is None
    admission.heard("ann", FOR_CALLER, accepted=False)
    own = admission.refusal("ann")
    assert own is not None and own.status == 429 and admission.refusal("bob") is None
    admission.heard("ann", FOR_ALL, accepted=False)
    now[0] = 0.24
    full = admission.refusal("bob")
    assert full is not None and (full.status, full.retry_after_s) == (503, 2)


def test_one_request_at_a_time_finds_out_whether_there_is_room_again() -> None:
    """The others are refused until its answer is known; when it was taken on, all are let through."""
    now = [0.0]
    admission = Admission(pause_s=0.25, clock=lambda: now[0])
    admission.heard("ann", FOR_ALL, accepted=False)
    now[0] = 0.25
    assert [admission.refusal("bob") is None for _ in range(3)] == [True, False, False]
    now[0] = 0.5
    assert [admission.refusal("bob") is None for _ in range(2)] == [True, False]
    admission.heard("bob", None, accepted=True)
    assert [admission.refusal("ann") is None for _ in range(2)] == [True, True]


def test_what_was_taken_on_may_be_sent_again() -> None:
    """By the same caller under the same key, also where nobody heard the answer; what was refused may not, nor what is somebody else's."""
    admission = Admission(clock=lambda: 0.0)
    for key, no_room, accepted in (("a", None, True), ("b", None, None), ("c", None, False), ("", None, True), ("d", FOR_ALL, False)):
        admission.heard("ann", no_room, accepted, key)
    admission.heard("bob", FOR_ALL, accepted=False)
    assert [admission.refusal("ann", key) is None for key in ("a", "b", "c", "", "d")] == [True, True, False, False, False]
    assert admission.refusal("bob", "a") is not None
    admission.heard("ann", FOR_CALLER, False, "a")  # it failed meanwhile, and asks for new room
    assert admission.refusal("ann", "a") is not None


@pytest.mark.parametrize("whom", [FOR_ALL, FOR_CALLER])
def test_the_body_of_what_is_refused_is_not_read(whom: str) -> None:
    """The second upload is answered before its first byte; only work is refused, and nobody outside hears for whom there is no room."""
    handled: list[str] = []

    async def full(scope: Scope, receive: Receive, send: Send) -> None:
        handled.append(scope["method"])
        await send({"type": "http.response.start", "status": 503, "headers": [(HEADER.lower().encode(), whom.encode()), _PROBLEM]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def main() -> None:
        guard = Guard(full, LIMITS)
        upload = {"method": "POST", "headers": {"content-length": "6"}, "chunks": [b"abcdef"]}
        first = await ask(guard, **upload)
        assert first.status == 503 and HEADER.lower() not in first.headers
        second = await ask(guard, **(upload | {"chunks": [b"a"] * 6, "pause_s": 3600.0}))
        assert second.status in (429, 503) and int(second.headers["retry-after"]) >= 1
        await ask(guard, method="GET")

    asyncio.run(main())
    assert handled == ["POST", "GET"]


_PROBLEM = (b"content-type", b"application/problem+json")
