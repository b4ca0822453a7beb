"""`serve deploy` of the rendered config. Another `user_config` replaces nothing that runs; a head alone takes nothing."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from nodes import Nodes, free_port
from postgres import database, postgres_server
from storm_kills import INGRESS, SAMPLER, below
from storm_service import NICENESS

from bfs_serve.config import render
from bfs_serve.runtime import PROXY

pytestmark = pytest.mark.ray

FIRST, SECOND = "fake?step_s=0.05", "fake?step_s=0.01"
FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7"}
_WITHIN_S = 300.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def states(client: httpx2.Client) -> dict[str, str]:
    """Of the models that may be asked for."""
    return {model["name"]: model["state"] for model in client.get("/v1/models").json()["models"]}


def deploy(dashboard: str, file: Path, config: dict[str, Any]) -> None:
    """As an operator does it."""
    file.write_text(yaml.safe_dump(config))
    serve = str(Path(sys.executable).with_name("serve"))
    subprocess.run([serve, "deploy", str(file), "-a", f"http://{dashboard}"], check=True, capture_output=True, text=True, timeout=120)


def asked_for(dashboard: str) -> dict[str, int]:
    """How many replicas of each deployment Serve wants and has begun to start, by the names of their processes."""
    headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    told = httpx2.get(f"http://{dashboard}/api/serve/applications/", headers=headers, timeout=60, trust_env=False).json()
    (application,) = told["applications"].values()
    return {f"ServeReplica:bfs:{name}": len(deployment["replicas"]) for name, deployment in application["deployments"].items()}


def test_user_config_changes_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_png: Callable[..., bytes]) -> None:
    """A second model and another rate reach both replicas in their processes; a layer that is being drawn meanwhile is finished."""
    for name, value in (PROXY | NICENESS).items():
        monkeypatch.setenv(name, value)
    files = {"background": ("b.png", make_png())}
    settings = {
        "model": FIRST,
        "engine": "bfs_serve.model.fake:FakeEngine",
        "min_replicas": "1",
        "max_replicas": "1",
        "ingress_replicas": "1",
    }
    config = yaml.safe_load(render(settings | {"store": str(tmp_path / "jobs.db"), "blobs": str(tmp_path / "blobs")}))
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    changeable = [deployment["user_config"] for deployment in config["applications"][0]["deployments"]]
    with Nodes(tmp_path) as nodes:
        head = nodes.head(num_cpus=2, dashboard=True)

        def replicas() -> list[int]:
            return sorted(process.pid for name in (INGRESS, SAMPLER) for process in below(head.pid, name))

        url = f"http://127.0.0.1:{config['http_options']['port']}"
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:

            def answers(path: str) -> httpx2.Response | None:
                try:
                    return client.get(path)
                except httpx2.HTTPError:
                    return None

            deploy(nodes.dashboard, tmp_path / "serve.yaml", config)
            until(lambda: (ready := answers("/readyz")) is not None and ready.status_code == 200)
            before = replicas()
            slow = client.post("/v1/layers", files=files, data=FIELDS | {"steps": "100"})
            for user_config in changeable:
                user_config["models"] = [FIRST, SECOND]
                user_config["limits"]["rate"] = "3/hour"
            deploy(nodes.dashboard, tmp_path / "serve.yaml", config)
            until(lambda: states(client).get(SECOND) == "ready")
            drawn = client.post("/v1/layers", files=files, data=FIELDS | {"model": SECOND}, headers={"Prefer": "wait=60"})
            assert drawn.status_code == 200, drawn.text
            until(lambda: client.get(slow.headers["location"]).json()["status"] == "succeeded")
            assert [client.post("/v1/layers", files=files, data=FIELDS).status_code for _ in range(3)][-1] == 429
            assert replicas() == before and len(before) == 2


def test_a_head_that_is_there_first_takes_no_ingress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_png: Callable[..., bytes]
) -> None:
    """As on Kubernetes, where workers come because something asks for them: with one for each replica, each gets one."""
    for name, value in (PROXY | NICENESS).items():
        monkeypatch.setenv(name, value)
    settings = {"model": FIRST, "engine": "bfs_serve.model.fake:FakeEngine", "ingress_replicas": "2", "ingress_per_node": "1"}
    with postgres_server(tmp_path / "postgres") as server, Nodes(tmp_path) as nodes:
        config = yaml.safe_load(render(settings | {"store": database(server), "blobs": str(tmp_path / "blobs")}))
        port = free_port()
        config |= {"proxy_location": "HeadOnly", "http_options": config["http_options"] | {"host": "127.0.0.1", "port": port}}
        head = nodes.head(dashboard=True)
        deploy(nodes.dashboard, tmp_path / "serve.yaml", config)
        until(lambda: asked_for(nodes.dashboard) == {INGRESS: 2, SAMPLER: 1})
        workers = [nodes.add(num_cpus=2) for _ in range(2)]
        until(lambda: all(len(list(below(worker.pid, INGRESS))) == 1 for worker in workers))
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:

            def is_ready() -> bool:
                with contextlib.suppress(httpx2.HTTPError):
                    return client.get("/readyz").status_code == 200
                return False

            until(is_ready)
            drawn = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers={"Prefer": "wait=60"})
            assert drawn.status_code == 200, drawn.text
        assert [process for name in (INGRESS, SAMPLER) for process in below(head.pid, name)] == []
