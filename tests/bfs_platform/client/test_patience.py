"""What passes is waited out, and nothing is drawn twice."""

import threading
import time
from collections.abc import Callable

import pytest
from live_service import LiveService, answer, broken_after, lost_answer

from bfs_model.errors import BadInput
from bfs_platform.client import BFSClient, ServiceError
from bfs_platform.client.events import Event
from bfs_serve.store.blobs import Blobs, BlobsAway

from .conftest import SLOW, png

BOX = (8, 4, 40, 28)
BUSY = b'{"title": "Busy", "detail": "The queue is full."}'
PROBLEM = {"content_type": "application/problem+json"}


def _later(delay_s: float, act: Callable[[], object]) -> None:
    threading.Timer(delay_s, act).start()


def test_a_lost_answer_draws_nothing_twice(service: LiveService, client: BFSClient) -> None:
    """The request is sent again under its own key and gives the job that the first one started; another request has another key."""
    service.faults["POST", "/v1/layers"] = [lost_answer, lost_answer]
    first, second = (client.draw(png(), BOX, "a ball", seed=7) for _ in range(2))
    keys = [asked.headers["idempotency-key"] for asked in service.requests("POST")]
    assert len(keys) == 4 and keys[0] == keys[1] == keys[2] != keys[3]
    assert [job.id for job in client.jobs()] == [second.id, first.id]


def test_busy_is_waited_out_as_long_as_asked(service: LiveService) -> None:
    """429 and 503 with Retry-After; why is told. What asks for more than there is patience is an error at once."""
    service.faults["POST", "/v1/layers"] = [answer(503, BUSY, retry_after="1", **PROBLEM), answer(429, BUSY, **PROBLEM)]
    told: list[str] = []
    with BFSClient(service.url, on_wait=told.append) as client:
        begin = time.monotonic()
        assert client.draw(png(), BOX, "a ball").status == "succeeded"
        assert time.monotonic() - begin > 1
        assert told == [f"url={service.url} The queue is full"] * 2
    service.faults["POST", "/v1/layers"] = [answer(503, BUSY, retry_after="3600", **PROBLEM)]
    with BFSClient(service.url) as client, pytest.raises(ServiceError, match="The queue is full") as busy:
        client.draw(png(), BOX, "a ball")
    assert (busy.value.status, busy.value.problem["title"]) == (503, "Busy")


def test_broken_events_are_taken_up_where_they_broke(service: LiveService, client: BFSClient) -> None:
    """Each event once, in order, whether the line breaks, is refused for a moment, or never comes."""
    service.faults["GET", "/events"] = [broken_after(2), answer(503), answer(502), broken_after(0), broken_after(1)]
    told: list[Event] = []
    client.draw(png(), BOX, "a ball", steps=4, model=SLOW, on_event=told.append)
    assert [int(event.id) for event in told] == list(range(1, len(told) + 1))
    steps = [event.data["step"] for event in told if event.name == "progress"]
    assert steps == sorted(set(steps)) and steps[-1] == 4  # those that follow each other fast are told together
    begun_at = [int(asked.headers["last-event-id"]) for asked in service.requests("GET", "/events")]
    assert begun_at[:6] == [0, 2, 2, 2, 2, 3]


def test_a_service_that_comes_back(service: LiveService, client: BFSClient) -> None:
    """Away before the request, and while it is drawn: it is one job, and its layer comes."""
    service.stop()
    _later(1.0, service.start)
    begun = threading.Event()

    def on_event(event: Event) -> None:
        if event.name == "started" and not begun.is_set():
            begun.set()

            def restart() -> None:
                service.stop()
                service.start()

            _later(0.2, restart)

    drawn = client.draw(png(), BOX, "a ball", steps=8, model=SLOW, on_event=on_event)
    assert begun.is_set() and drawn.status == "succeeded"
    assert [job.id for job in client.jobs()] == [drawn.id]


def test_patience_ends(service: LiveService) -> None:
    """Nobody there, or nobody any longer: an error that says where."""
    with BFSClient(service.url, patience_s=1.0) as client:
        job = client.start("layers", {"background": png()}, {"box": "8,4,40,28", "prompt": "a ball", "steps": 100, "model": SLOW})
        service.stop()
        for ask in (client.models, lambda: list(client.events(job.id))):
            with pytest.raises(ServiceError, match=f"url={service.url} cannot be reached") as away:
                ask()
            assert away.value.status is None


def test_a_job_that_failed(service: LiveService, client: BFSClient) -> None:
    """What the service is at fault for is a `ServiceError` with its problem."""
    with pytest.raises(ServiceError, match=service.url) as failed:
        client.draw(png(), BOX, "fail")
    assert failed.value.problem["status"] >= 500


def test_a_job_that_fails_of_what_passes_is_opened_again(service: LiveService, client: BFSClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same key, a few times; why is told."""
    real, left = Blobs.get, [2]

    def get(blobs: Blobs, name: str) -> bytes:
        if left[0]:
            left[0] -= 1
            raise BlobsAway("timeout")
        return real(blobs, name)

    monkeypatch.setattr(Blobs, "get", get)
    assert client.draw(png(), BOX, "a ball").status == "succeeded"
    keys = {asked.headers["idempotency-key"] for asked in service.requests("POST")}
    assert len(service.requests("POST")) == 3 and len(keys) == 1
    left[0] = 99
    with pytest.raises(ServiceError, match="store of pictures was away") as failed:
        client.draw(png(), BOX, "a ball")
    assert failed.value.status == 503 and len(service.requests("POST")) == 6


def test_a_job_that_somebody_cancels(service: LiveService, client: BFSClient) -> None:
    """Its waiting caller is told."""

    def cancel(event: Event) -> None:
        if event.name == "started":
            with BFSClient(service.url) as other:
                other.cancel(next(other.jobs()).id)

    with pytest.raises(ServiceError, match="was canceled"):
        client.draw(png(), BOX, "a ball", steps=100, model=SLOW, on_event=cancel)


@pytest.mark.parametrize(
    ("path", "fault", "error", "said"),
    [
        (
            "/v1/models",
            answer(200, b"<html>", content_type="text/html"),
            ServiceError,
            "answered with text/html that is no ModelPage; it may",
        ),
        (
            "/v1/models",
            answer(404, b"<html>", content_type="text/html"),
            ServiceError,
            "answered 404 Not Found; it may not be a BFS service",
        ),
        ("/v1/models", answer(302, location="http://127.0.0.1:9/"), ServiceError, "answered 302 Found"),
        ("/v1/models", answer(422, b"no json", **PROBLEM), ServiceError, "answered 422"),
        ("/v1/models", answer(401, b'{"detail": "Send a key."}', **PROBLEM), BadInput, "refused the request with status 401; Send a key"),
    ],
)
def test_other_answers(service: LiveService, client: BFSClient, path: str, fault: object, error: type, said: str) -> None:
    """What is no answer of this service is said as it is; nothing is tried again, and no redirect is followed."""
    service.faults["GET", path] = [fault]  # type: ignore[list-item]
    with pytest.raises(error, match=said):
        client.models()
    assert len(service.requests("GET", path)) == 1
