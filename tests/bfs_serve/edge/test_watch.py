"""What the guard counts: how it gets in, and that nothing outside can make it up."""

import asyncio
from typing import Any

import pytest
from starlette.types import Send

from bfs_serve.edge.signature import COUNTS_HEADER, secret, signed_counts, verified_counts
from bfs_serve.edge.watch import route_of
from bfs_serve.guard import Guard
from bfs_serve.telemetry.amounts import SUM, Amounts

from .inside import LIMITS, Inside, ask


def counts_in(inside: Inside) -> Amounts:
    """What came in with the last request; nothing where there was no header."""
    headers, key = inside.headers(), secret()
    assert key is not None
    found = verified_counts(headers[COUNTS_HEADER], headers["x-request-id"], key) if COUNTS_HEADER in headers else {}
    assert found is not None
    return found


def whole(counts: Amounts) -> dict[str, float]:
    """Without durations."""
    return {f"{name} {label}": amount for (name, label), amount in counts.items() if name != "request_seconds"}


def test_a_scrape_brings_what_was_counted_before_it() -> None:
    """Requests by what they ask for and how they were answered, refusals by their reason; then they are counted anew."""
    inside = Inside()

    async def story() -> None:
        guard = Guard(inside, LIMITS)
        await ask(guard)
        await ask(guard, headers={"content-length": "1000"})
        await ask(guard, headers={"host": "evil.example"}, path="/v1/jobs/secret/result", method="GET")
        await ask(guard, path="/metrics", method="GET")
        counts = counts_in(inside)
        assert whole(counts) == {
            "requests POST /v1/layers 200": 1,
            "requests POST /v1/layers 413": 1,
            "requests GET /v1/jobs/{job_id}/result 403": 1,
            "guard_refused too-large": 1,
            "guard_refused forbidden": 1,
        }
        assert counts["request_seconds", f"work {SUM}"] > 0 and counts["request_seconds", "work 0.05"] == 2
        await ask(guard, path="/metrics", method="GET")
        assert whole(counts_in(inside)) == {"requests GET /metrics 200": 1}

    asyncio.run(story())


def test_nothing_is_lost_with_a_request_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies over the request which carries the counts takes none of them with it."""

    async def dies(send: Send) -> None:
        return

    inside = Inside(dies)

    async def story() -> None:
        guard = Guard(inside, LIMITS)
        await ask(guard, path="/metrics", method="GET")
        await ask(guard, path="/metrics", method="GET")
        first = whole(counts_in(inside))
        await ask(guard, path="/metrics", method="GET")
        assert first == {"requests GET /metrics 503": 1, "guard_refused interrupted": 1}
        assert whole(counts_in(inside)) == {"requests GET /metrics 503": 2, "guard_refused interrupted": 2}

    asyncio.run(story())


def test_counts_come_from_the_guard_alone() -> None:
    """A header of a caller is dropped, and one that belongs to another request is not believed."""
    inside, key = Inside(), secret()
    assert key is not None
    forged = signed_counts({("steps", ""): 1e9}, "theirs", key)
    asyncio.run(ask(Guard(inside, LIMITS), headers={COUNTS_HEADER: forged, "x-request-id": "mine"}))
    assert COUNTS_HEADER not in inside.headers()
    assert verified_counts(forged, "mine", key) is None and verified_counts("", "mine", key) is None


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/layers", "/v1/layers"),
        ("/v1/jobs/0123/events", "/v1/jobs/{job_id}/events"),
        ("/studio/app.js", "/studio"),
        ("/v1/jobs/a/b/c", "other"),
        ("/anything", "other"),
    ],
)
def test_addresses_are_counted_by_kind(path: str, route: str) -> None:
    """However many are made up, there are few counters."""
    assert route_of(path) == route


def test_the_answer_names_the_request() -> None:
    """The caller's own id, also where the application does not give it back."""
    answer: Any = asyncio.run(ask(Guard(Inside(), LIMITS), headers={"x-request-id": "mine"}))
    assert answer.headers["x-request-id"] == "mine"
