"""What callers hear while parts of the service are away, hung or forged."""

import asyncio
import errno
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from ray.exceptions import NodeDiedError, ObjectLostError, OwnerDiedError, RayActorError
from sqlalchemy.exc import OperationalError

from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.edge.signature import HEADER, SECRET_VARIABLE, CallerFacts, signed
from bfs_serve.job.orders import DRAWN_KINDS
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.model.worker import failure
from bfs_serve.store.blobs import Blobs, BlobsAway
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, NewJob
from bfs_serve.telemetry import amounts

MakePng = Callable[..., bytes]
FIELDS = {"box": "8,4,40,28", "prompt": "a ball"}
AWAY = [
    NodeDiedError("the node died"),
    ObjectLostError("0" * 56, None, ""),
    OwnerDiedError("0" * 56, None, ""),
    RayActorError(),
    OperationalError("SELECT 1", {}, Exception("the database is away")),
    BlobsAway("the object store is away"),
]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
def test_what_is_away_for_now_is_503(client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It passes, so callers are told to come again; a fault of ours is a 500."""

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(client.app.state.service.store, "get", fail)  # type: ignore[attr-defined]
    answer = client.get(f"/v1/jobs/{'0' * 32}")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "2" and answer.json()["type"].endswith(":busy")
    error = ValueError("a bug")
    assert client.get(f"/v1/jobs/{'0' * 32}").status_code == 500


def test_a_full_disk_is_no_fault_of_anybody(client: TestClient, make_png: MakePng, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of the pictures nor that of the jobs: nothing is taken, callers are told to come again, and with room it is drawn."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]

    def post() -> Response:
        return client.post("/v1/layers", files={"background": make_png()}, data=FIELDS)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        refused = [post()]
        with pytest.raises(OSError) as caught:
            service.blobs.put(b"a layer")
    ended = failure(caught.value)
    assert ended.retryable and ended.body["slug"] == "full", "a job whose result finds no room may be sent again"
    with service.store._database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    while (answer := post()).status_code == 202:
        pass
    refused.append(answer)
    with monkeypatch.context() as patch:
        patch.setattr(service.store, "count", AsyncMock(side_effect=OperationalError("INSERT", {}, Exception("database or disk is full"))))
        service.tally.add({(amounts.REFUSED, "full"): 1})
        assert "bfs_stored_bytes " in client.get("/metrics").text, "whoever watches over it sees on"
    assert 'bfs_jobs_refused_total{reason="full"} 1.0' in client.get("/metrics").text
    for answer in refused:
        assert answer.status_code == 503 and answer.headers["retry-after"] == "60" and answer.json()["type"].endswith(":full")
    with service.store._database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1073741823")
    assert post().status_code == 202


def test_who_names_the_caller_without_the_guard_is_not_believed(serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> None:
    """The header alone says nothing; the guard's signature on this request does."""
    monkeypatch.setenv(SECRET_VARIABLE, "ours")
    client = serve(require_guard=True)
    said = signed(CallerFacts("ann"), "one", client.app.state.secret)  # type: ignore[attr-defined]
    for headers in ({}, {HEADER: "ann"}, {HEADER: said}, {HEADER: said, "x-request-id": "two"}):
        answer = client.get("/v1/jobs", headers=headers)
        assert answer.status_code == 503 and answer.json()["type"].endswith(":guard-missing")
    assert client.get("/v1/jobs", headers={HEADER: said, "x-request-id": "one"}).status_code == 200


def test_one_callers_full_store_is_no_reason_to_refuse_another(
    serve: Callable[..., TestClient], make_png: MakePng, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a refusal, too; nor is one job that does not fit into what is left of the whole store."""
    monkeypatch.setenv(SECRET_VARIABLE, "ours")
    client = serve("fake?step_s=2", limits=Limits(owner_max_bytes=3_000_000))
    key = client.app.state.secret  # type: ignore[attr-defined]

    def post(name: str, side: int) -> int:
        headers = {HEADER: signed(CallerFacts(name), name, key), "x-request-id": name}
        return client.post("/v1/layers", files={"background": make_png(side, side)}, data=FIELDS, headers=headers).status_code

    assert [post("ann", 640), post("ann", 640), post("bob", 48), post("ann", 48)] == [202, 507, 202, 202]
    client = serve("fake?step_s=2", limits=Limits(max_bytes=3_000_000))
    key = client.app.state.secret  # type: ignore[attr-defined]
    assert [post("ann", 640), post("ann", 640), post("bob", 48), post("ann", 48)] == [202, 503, 202, 202]
    assert post("cyd", 800) == 413, "one that can never fit is not told to try again"


def test_what_is_refused_leaves_nothing_behind(serve: Callable[..., TestClient], make_png: MakePng) -> None:
    """Neither for want of room, nor of a model, nor by its key: refused uploads would fill the disk, and nobody counts them."""
    client = serve("fake?step_s=2", limits=Limits(owner_max_bytes=3_000_000))
    blobs: Blobs = client.app.state.service.blobs  # type: ignore[attr-defined]

    def post(side: int, seed: int, key: str, **more: str) -> int:
        files = {"background": make_png(side, side, seed)}
        return client.post("/v1/layers", files=files, data=FIELDS | more, headers={"Idempotency-Key": key}).status_code

    assert post(640, 1, "one") == 202
    kept = blobs.names()
    assert [post(640, 2, "two"), post(48, 3, "three", model="other"), post(48, 4, "one")] == [507, 422, 422]
    assert blobs.names() == kept
    assert post(640, 1, "one") == 202 and blobs.names() == kept, "the same request is the same job"


def test_uploads_in_memory_are_bounded_together(client: TestClient, make_png: MakePng) -> None:
    """Until their pictures are stored; afterwards there is room again, whatever became of them."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]

    def post(**fields: str) -> Response:
        return client.post("/v1/layers", files={"background": make_png(64, 64)}, data=FIELDS | fields)

    assert [post().status_code, post(box="9,9").status_code, service.uploads.held] == [202, 422, 0]
    service.uploads.max_bytes = 5000
    full = post()
    assert full.status_code == 503 and full.json()["type"].endswith(":busy") and full.headers["retry-after"] == "2"
    service.uploads.max_bytes = 50_000
    assert post().status_code == 202 and service.uploads.held == 0


def test_a_flood_of_probes_is_one_look(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks whether the service is ready needs no key: a hundred such requests cost the store no more than one."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    real, looks = service.store.published, []

    async def counted() -> object:
        looks.append(1)
        return await real()

    monkeypatch.setattr(service.store, "published", counted)

    async def flood() -> set[bool]:
        return {problem is None for problem in await asyncio.gather(*(service.ready() for _ in range(100)))}

    assert client.portal is not None and len(client.portal.call(flood)) == 1 and len(looks) == 1


def test_a_hung_model_makes_the_service_not_ready(tmp_path: Path, pictures: Pictures, make_png: MakePng) -> None:
    """Its worker says no more that it is at work, and Serve is told to replace it."""

    async def main() -> None:
        places = str(tmp_path / "jobs.db"), str(tmp_path / "blobs")
        store = JobStore(places[0])
        sampler = Sampler(SamplerSettings(*places, "bfs_serve.model.fake:FakeEngine", lease_s=1, stall_s=0.5, grace_s=0, alive_s=0.2))
        await sampler.reconfigure({"models": ["fake"], "follow_s": 0})
        service = Service(store, Blobs(places[1]), pictures, ["fake"])
        while await service.ready() is not None:
            await asyncio.sleep(0.05)
        sampler.check_health()
        blob = service.blobs.put(make_png())
        order = {"width": 48, "height": 32, "background": blob, "box": [8, 4, 40, 28], "prompt": "hang", "seed": 7}
        await store.submit(NewJob("ann", DRAWN_KINDS[0], order, "fake", "fake-fake", blobs=(blob,)))
        deadline = time.monotonic() + 30
        while not sampler._worker.is_stalled:  # type: ignore[union-attr]
            assert time.monotonic() < deadline, "it is not taken for hung"
            await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="no step"):
            sampler.check_health()
        while (problem := await service.ready()) is None:
            assert time.monotonic() < deadline, "still ready"
            await asyncio.sleep(0.05)
        assert problem.detail == "No worker is at work."
        await sampler.close()
        service.close()

    asyncio.run(main())
