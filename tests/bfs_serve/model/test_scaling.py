"""How many samplers are wanted, by what lies in the store."""

import asyncio
import time
from pathlib import Path

from bfs_serve.model.scaling import WANTED, StoreDepthPolicy
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import NewJob


def test_samplers_are_wanted_for_what_models_draw(tmp_path: Path) -> None:
    """One while a model that is served was never loaded; then as many as there are jobs for, of which exports are none; then none."""

    async def story() -> None:
        store = JobStore(str(tmp_path / "jobs.db"))
        policy = StoreDepthPolicy(str(tmp_path / "jobs.db"), jobs_per_replica=2, models=["tiny"], poll_s=0.0)

        async def wants(number: int) -> None:
            deadline = time.monotonic() + 20
            while policy(None)[0] != number:
                assert time.monotonic() < deadline, policy(None)
                await asyncio.sleep(0.01)
            for _ in range(5):
                await asyncio.sleep(0.02)
                assert policy(None)[0] == number

        await wants(1)
        await store.publish("tiny", "v1", {})
        await wants(0)
        await store.hold(WANTED + "an ingress that serves one name more", "it", 30)
        await wants(1)
        await store.let_go(WANTED + "an ingress that serves one name more", "it")
        await wants(0)
        await store.submit(NewJob("ann", "export", {}))
        await wants(0)
        for _ in range(5):
            await store.submit(NewJob("ann", "layer", {}))
        await wants(3)
        store.close()

    asyncio.run(story())
