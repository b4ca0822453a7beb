"""A thousand requests of all kinds while processes of the service, a node of its cluster, and the whole service are killed.

`BFS_STORM_REQUESTS` sets another number of them.
"""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest
from nodes import Nodes
from postgres import database, postgres_server
from storm import OPTIONS, Storm
from storm_callers import Callers
from storm_service import NICENESS, StormService

from bfs_serve.runtime import PROXY

pytestmark = [pytest.mark.soak, pytest.mark.ray]

COUNT, NUM_TINY = int(os.environ.get("BFS_STORM_REQUESTS", "1000")), 10
PAUSE_S, PATIENCE_S = 4.0, 600.0
NODE_TRIES = 4  # a node gives itself 30 seconds to start, too few on a busy machine


def _endured(storm: Storm, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\n" + json.dumps(storm.seen()))
    assert storm.faults() == []


def test_a_service_that_is_restarted_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One machine, SQLite: killed with all its processes, stopped by SIGTERM, killed without its children; each time started again."""
    with StormService(tmp_path, *OPTIONS, tiny=True) as service:

        def lost_power() -> None:
            service.kill()
            service.start()

        def lost_its_head() -> None:
            service.behead()
            service.start()

        def replaced() -> None:
            assert service.stop() == 0
            service.start()

        callers = Callers(service.url, COUNT, seed=1, patience_s=PATIENCE_S, num_tiny=NUM_TINY)
        storm = Storm(service, callers, lambda: service.pids, PAUSE_S, restarts=(lost_power, replaced, lost_its_head))
        asyncio.run(storm.run())
        assert service.stop() == 0
    _endured(storm, capsys)


def test_a_cluster_that_loses_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes, PostgreSQL: the second one is lost with all that runs on it, and another one joins."""
    for name, value in (PROXY | NICENESS).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))  # of the nodes: replicas load the engine of storms
    with postgres_server(tmp_path / "postgres") as server, Nodes(tmp_path) as nodes:
        head = nodes.head(num_cpus=2)
        others = [nodes.add(num_cpus=2)]
        store = database(server)
        with StormService(tmp_path, *OPTIONS, "--store", store, tiny=True, env={"RAY_ADDRESS": nodes.gcs}) as service:

            async def lose_a_node() -> None:
                await asyncio.to_thread(nodes.kill, others.pop())
                for _ in range(NODE_TRIES):
                    with contextlib.suppress(AssertionError):
                        others.append(await asyncio.to_thread(nodes.add, 2))
                        return
                raise AssertionError("no other node could be started")

            def roots() -> list[int]:
                return [head.pid, *(node.pid for node in others)]

            callers = Callers(service.url, COUNT, seed=2, patience_s=PATIENCE_S, num_tiny=NUM_TINY)
            storm = Storm(service, callers, roots, PAUSE_S, {"node": lose_a_node})
            asyncio.run(storm.run())
            assert service.stop() == 0
        _endured(storm, capsys)
    assert any("node" in done for done in storm.seen()["whole after, s"]), "the storm was over before a node was lost"
