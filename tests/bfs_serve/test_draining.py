"""SIGTERM to a service whose store others use as well: it ends its own work, and waits for nobody else's."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from storm import OPTIONS
from storm_service import StormService
from storm_wishes import Wish

from bfs_serve.job.orders import LayerOrder
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import NewJob, Wanted

pytestmark = pytest.mark.soak

PATIENCE = ("--lease-s", "300", "--drain-s", "3600")  # longer than the test would wait for a service that waits for others
OTHERS = "other"


def test_only_its_own_jobs_are_waited_for(tmp_path: Path) -> None:
    """What its samplers draw is answered; what another service draws runs on; no ingress replica takes anything on meanwhile."""
    gate = tmp_path / "gate"
    with StormService(tmp_path, *OPTIONS, *PATIENCE, model=f"fake?gate={gate}") as service, ThreadPoolExecutor(2) as threads:
        gate.touch()  # not before: the picture with which a model is tried would wait as well
        store = JobStore(service.store)
        others = asyncio.run(_taken_elsewhere(store))
        with httpx2.Client(base_url=service.url, timeout=360, trust_env=False) as client:
            drawing = threads.submit(client.post, "/v1/layers", headers={"Prefer": "wait=300"}, **Wish("layer", 1).content())
            while asyncio.run(store.depth()).running < 2:
                time.sleep(0.05)
            stopping = threads.submit(service.stop)
            _until_all_refuse(client)
            assert not drawing.done()
            gate.unlink()
            answer = drawing.result()
            assert answer.status_code == 200, answer.text
            assert Wish("layer", 1).is_met_by(answer.json())
        assert stopping.result() == 0
        job = asyncio.run(store.get("local", others))
        assert job is not None and job.status == "running"
        store.close()


def _until_all_refuse(client: httpx2.Client) -> None:
    """Ask again and again, for one and the same job; what is taken on before the replicas have heard of the end is no fault."""
    refused = 0
    while refused < 8:
        answer = client.post("/v1/layers", headers={"Idempotency-Key": "early"}, **Wish("layer", 2).content())
        if answer.status_code == 202:
            refused = 0
            continue
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:bfs:problem:not-ready")
        refused += 1


async def _taken_elsewhere(store: JobStore) -> str:
    """A job in the same store that a worker of another service draws; returns its id."""
    order = LayerOrder(width=48, height=32, background="0" * 64, box=(8, 4, 40, 28), prompt="a ball", seed=3)
    await store.submit(NewJob("local", LayerOrder.kind, order.model_dump(mode="json"), OTHERS, "v"))
    (claim,) = await store.claim("elsewhere", Wanted((LayerOrder.kind,), (OTHERS,)), 1, 3600)
    return claim.id
