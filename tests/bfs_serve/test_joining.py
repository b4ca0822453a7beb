"""`python -m bfs_serve` on clusters that others run: it takes nothing away from them, and says what it needs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from nodes import Nodes, free_port
from shells import bare_shell, ray_start

pytestmark = pytest.mark.soak

GUARD = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "bfs_serve.guard:middlewares"}
SERVE = [sys.executable, "-m", "bfs_serve", "--engine", "bfs_serve.model.fake:FakeEngine", "--model", "fake"]
FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7"}


def _refused(env: dict[str, str], *options: str) -> str:
    """The one line with which a service refuses to start."""
    done = subprocess.run([*SERVE, "--port", str(free_port()), *options], env=env, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stderr.splitlines() if "is open: whoever reaches it" not in line]
    assert done.returncode == 2 and len(lines) == 1 and done.stdout == "", done.stderr[-3000:]
    return lines[0]


def test_an_application_of_others_is_neither_replaced_nor_ended(tmp_path: Path, make_png: Callable[..., bytes]) -> None:
    """A second service on the same cluster is refused; the first one goes on, on a cluster without a token, too."""
    scratch, port = Path(tempfile.mkdtemp(dir="/tmp")), free_port()
    with ray_start(tmp_path, scratch / "ray", **GUARD) as head:
        env = bare_shell(tmp_path, RAY_ADDRESS=head.address, BFS_HOME=str(tmp_path / "home"))
        first = subprocess.Popen([*SERVE, "--port", str(port)], env=env, stderr=subprocess.PIPE, text=True)
        with first, httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            assert first.stderr is not None
            said = []
            for line in first.stderr:
                said.append(line)
                if line.startswith("ready http"):
                    break
            assert said and said[-1].startswith("ready http"), "".join(said)[-3000:]
            assert _refused(env).startswith(f"RAY_ADDRESS={head.address} serves an application 'bfs' already; ")
            drawn = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers={"Prefer": "wait=40"})
            assert drawn.status_code == 200, drawn.text
            first.send_signal(signal.SIGTERM)
            first.stderr.read()
        assert first.returncode == 0
    shutil.rmtree(scratch, ignore_errors=True)


def test_several_machines_need_a_store_that_all_reach(tmp_path: Path) -> None:
    """A file would be another one on each of them."""
    with Nodes(tmp_path) as nodes:
        nodes.head(num_cpus=2)
        nodes.add(ip="127.0.0.2")  # another address is another machine
        env = bare_shell(tmp_path, RAY_ADDRESS=nodes.gcs, BFS_HOME=str(tmp_path / "home"), RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"])
        said = _refused(env)
    assert said == (
        f"store=sqlite:///{tmp_path}/home/serve/jobs.db is a file of one machine, and the cluster has 2; "
        "give store=postgresql://user@host/database, which all of them reach."
    )
