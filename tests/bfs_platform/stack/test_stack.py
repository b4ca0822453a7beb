"""A stack from a bare shell: up, a submitted job, a promotion, a request, healed, down, and nothing is left."""

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx2
import namespaces
import psutil
import psycopg
import pytest
import training
from drawn import write_rorem
from metrics import asked
from run_documents import environment_of_the_documents
from runbooks import commands, pages
from safetensors.torch import load_file, save_file
from stack_shell import PATIENCE_S, Shell

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import bundle
from bfs_platform.stack import storage
from bfs_platform.stack.marked import marked
from bfs_platform.stack.state import Stack

pytestmark = pytest.mark.soak

_STRANGER = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=60)
    except grpc.RpcError as refused:
        print(refused.code())
"""


def test_the_road_of_a_model_on_a_stack(shell: Shell, tmp_path: Path) -> None:
    """Trained by a submitted job, promoted, served and asked; what is killed is healed by the next `up`; `down` leaves nothing."""
    dataset = training.write_set(tmp_path / "set", 1, bundle.locate("tiny"), 128)
    rows = shell.up()
    assert {row["state"] for row in rows.values()} == {"up"} and all(row["version"] for row in rows.values())
    assert "with tiny" in rows["service"]["version"] and Path(rows["ray"]["log"]).is_file() and Path(rows["service"]["log"]).is_dir()

    told = shell.told()
    run = tmp_path / "run"
    changes = ("num_steps=8", "num_workers=1", "sample_every_steps=0", "checkpoint.every_steps=2")
    short = [word for change in changes for word in ("--set", change)]
    training_job = ["jobs/stage1.py", "--recipe", "demo_stage1", *short, "--dataset", str(dataset), "--output", str(run)]
    pictures = ["--source", "rorem", "--input", str(write_rorem(tmp_path / "pictures", 24, 128)), "--set", "records_per_shard=2"]
    building_job = ["jobs/build_stage2.py", "--recipe", "tabletop_data_stage2", *pictures, "--output", str(tmp_path / "built")]
    with _scraped(shell) as seen:
        for job, result in ((building_job, tmp_path / "built"), (training_job, run / "model")):
            said = shell.run("ray", "job", "submit", "--working-dir", ".", "--", "python", *job, **told)
            assert str(result / "manifest.json") in said
    assert {name for name in asked(shell.root) if name.startswith("ray_bfs_")} - seen == set()
    promoted = json.loads(shell.run("bfs", "promote", str(run / "model"), "--json", **told))
    assert promoted["promoted"] and promoted["version"] == "1"
    assert "with models:/bfs@champion" in shell.up()["service"]["version"]
    assert shell.ask().json()["model"]["name"] == "models:/bfs@champion"

    _strangers_are_kept_out(shell)
    _prometheus_would_find_what_is_asked_for(shell)
    second = _slightly_other(run / "model", tmp_path / "second")
    assert json.loads(shell.run("bfs", "promote", str(second), "--json", **told))["version"] == "2"
    before = shell.status(0)
    for name in ("ray", "mlflow"):
        os.kill(before[name]["pid"], signal.SIGKILL)
    time.sleep(0.5)
    dead = shell.status(1)
    assert all(dead[name]["state"].startswith("died; see ") for name in ("ray", "mlflow")) and dead["service"]["state"] != "up"
    healed = shell.up()
    assert {row["state"] for row in healed.values()} == {"up"} and healed["ray"]["pid"] != before["ray"]["pid"]
    assert shell.ask().json()["model"]["name"] == "models:/bfs@champion"
    _workers_come_and_go(shell)
    _runbooks_run(shell)
    _ends_without_a_trace(shell)


def test_the_full_profile_draws_keeps_strangers_out_and_leaves_nothing(repo_root: Path) -> None:
    """Jobs in PostgreSQL, pictures in the object store, each behind its own password; `down` leaves nothing of them either."""
    try:
        storage.check_installed()
    except BadInput as absent:
        pytest.skip(str(absent))
    with tempfile.TemporaryDirectory(prefix="bfs-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as somebody else
        shell = Shell(Path(folder), repo_root)
        try:
            rows = shell.up("--profile", "full")
            assert {row["state"] for row in rows.values()} == {"up"} and {"postgres", "objects"} <= rows.keys()
            assert shell.ask().json()["model"]["name"] == "tiny" and list(shell.folder.rglob("*.db")) == []
            _strangers_are_kept_out(shell, shell.ports["postgres"], shell.ports["objects"])
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host="127.0.0.1", port=shell.ports["postgres"], user="bfs", dbname="serve", password="guessed")
            assert httpx2.get(f"http://127.0.0.1:{shell.ports['objects']}/{storage.BUCKET}", trust_env=False).status_code == 403
            _ends_without_a_trace(shell)
        finally:
            shell.run("bfs", "down", "--state", str(shell.folder), code=None)


def _workers_come_and_go(shell: Shell) -> None:
    """Nodes of the same cluster: one that is killed is seen, and is there again after the next `up`; those too many end."""
    rows = shell.up("--workers", "2")
    assert {name for name in rows if name.startswith("ray-worker-")} == {"ray-worker-1", "ray-worker-2"} and _num_nodes(shell) == 3
    os.kill(rows["ray-worker-2"]["pid"], signal.SIGKILL)
    time.sleep(0.5)
    assert shell.status(1)["ray-worker-2"]["state"].startswith("died; see ")
    healed = shell.up("--workers", "2")
    assert healed["ray-worker-2"]["pid"] != rows["ray-worker-2"]["pid"] and healed["ray-worker-1"]["pid"] == rows["ray-worker-1"]["pid"]
    deadline = time.monotonic() + 120  # the head notices a lost node by its silence
    while (num_nodes := _num_nodes(shell)) != 3 and time.monotonic() < deadline:
        time.sleep(1)
    assert num_nodes == 3
    alone = shell.up("--workers", "0")
    assert alone["ray"]["pid"] == rows["ray"]["pid"] and not any(name.startswith("ray-worker-") for name in alone)
    assert shell.ask().json()["model"]["name"] == "models:/bfs@champion"


def _num_nodes(shell: Shell) -> int:
    """How many nodes the cluster says that it has, asked as a user asks."""
    listed = json.loads(shell.run("ray", "list", "nodes", "--format=json", "--filter=state=ALIVE", **shell.told()))
    return len(listed)


def _strangers_are_kept_out(shell: Shell, *known: int) -> None:
    """Whatever listens, the `known` ports too, does so on loopback, but for gRPC servers of Serve's replicas, which want the token."""
    stack = Stack.load(shell.folder)
    assert stack is not None
    ours = {process.pid for process in marked(stack.mark)}
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    open_ones = [c for c in listening if not ipaddress.ip_address(c.laddr.ip.removeprefix("::ffff:")).is_loopback]
    assert len(listening) > 8 and {*known} <= {c.laddr.port for c in listening}
    for connection in open_ones:
        assert "ServeReplica" in " ".join(psutil.Process(connection.pid).cmdline()), connection
        with grpc.insecure_channel(f"127.0.0.1:{connection.laddr.port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    _strangers_elsewhere_reach_no_more([c.laddr.port for c in listening], [c.laddr.port for c in open_ones])
    with pytest.raises(httpx2.HTTPStatusError, match="401"):
        httpx2.get(f"http://127.0.0.1:{shell.ports['dashboard']}/api/jobs/", trust_env=False).raise_for_status()


def _strangers_elsewhere_reach_no_more(listening: list[int], open_ones: list[int]) -> None:
    """From another machine nothing answers but those gRPC servers, and they want the token there, too."""
    if namespaces.unavailable():
        return
    with namespaces.machines(1) as (stranger,):
        assert set(stranger.reached(sys.executable, listening)) == set(open_ones)
        for port in open_ones:
            command = [*stranger.prefix, sys.executable, "-c", _STRANGER, f"{stranger.host}:{port}"]
            assert "UNAUTHENTICATED" in subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout


def _shown(shell: Shell) -> set[str]:
    """The names of all that the service and Ray show now."""
    stack = Stack.load(shell.folder)
    assert stack is not None
    targets = json.loads((stack.ray_folder / "prom_metrics_service_discovery.json").read_text())
    addresses = [f"127.0.0.1:{shell.ports['service']}", *(place for group in targets for place in group["targets"])]
    with httpx2.Client(timeout=PATIENCE_S, trust_env=False) as client:
        text = "\n".join(client.get(f"http://{address}/metrics").text for address in addresses)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return set(kinds) | {f"{name}_{end}" for name, kind in kinds.items() if kind == "histogram" for end in ("bucket", "sum", "count")}


@contextmanager
def _scraped(shell: Shell) -> Iterator[set[str]]:
    """What is shown at any time within, to be read afterwards."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            seen.update(_shown(shell))

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        try:
            yield seen
        finally:
            ended.set()
            watching.result()


def _prometheus_would_find_what_is_asked_for(shell: Shell) -> None:
    """Every metric of rules and dashboards is in what the service and Ray show, but those of jobs, which have ended."""
    wanted = {name for name in asked(shell.root) if not name.startswith("ray_bfs_")}
    assert len(wanted) > 25 and wanted - _shown(shell) == set()


def _slightly_other(model: Path, copy: Path) -> Path:
    """The same model with one weight moved by a little: another version."""
    shutil.copytree(model, copy)
    path = copy / "sharing" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).flatten()[0] += 1e-4
    save_file(weights, path)
    integrity.write_manifest(copy, "model", integrity.read_manifest(model, "model")["body"])
    return copy


def _runbooks_run(shell: Shell) -> None:
    """Each command for everybody, in the shell that the list of runbooks describes."""
    assert environment_of_the_documents(shell.root), "the runbooks name .venv, and the tests run in another environment"
    environment = shell.env | shell.told()
    for page in pages(shell.root):
        for block in commands(page):
            if not block.cluster:
                done = shell.paste(block.text, environment)
                assert done.returncode == 0, f"{block.place}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def _ends_without_a_trace(shell: Shell) -> None:
    stack = Stack.load(shell.folder)
    assert stack is not None and marked(stack.mark)
    ports = {*stack.settings.ports.values(), *stack.inner.values()}
    shell.run("bfs", "down", "--state", str(shell.folder))
    assert marked(stack.mark) == []
    assert [c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports] == []
    assert [path for path in shell.folder.rglob("*") if path.is_socket()] == [] and not stack.ray_folder.exists()
    assert any((shell.folder / "logs" / "ray-last-session").rglob("*.out")), "Ray's logs are kept"
    assert shell.status(1) == {}
