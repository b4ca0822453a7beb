"""The programs of a stack, in the order in which they start."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import yaml

from bfs_model.errors import BadInput
from bfs_platform.cluster.environment import of_head
from bfs_platform.processes import ROOT
from bfs_platform.stack import marked, storage
from bfs_platform.stack.probe import problem_of
from bfs_platform.stack.program import Program
from bfs_platform.stack.state import Stack
from bfs_platform.tracking import server

_RAY = (sys.executable, "-m", "ray.scripts.scripts")
GUARD = "bfs_serve.guard:middlewares"
_WORKER = "ray-worker-"
_STORE_BYTES = 1024**3
_MIN_CPUS = 6  # Ray Data's helpers and two workers of a small training, and a sampler beside them
# How far workers give way to all else, and how long one may take to start: for whoever shares this machine to say.
_INHERITED = ("RAY_worker_niceness", "RAY_worker_register_timeout_seconds")
_NOT_INHERITED = ("RAY_", "MLFLOW_", "PG", "BFS_HOME", "BFS_LOG", marked.VARIABLE, "VIRTUAL_ENV", "PYTHONPATH")
_METRICS_OF_RAY = ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")


def programs(stack: Stack) -> list[Program]:
    """What this stack consists of, besides the service."""
    full = stack.settings.profile == "full"
    shared = environment(stack)
    found = [storage.postgres(stack, shared), storage.objects(stack, shared)] if full else []
    found += [_mlflow(stack, shared), _ray(stack, shared)]
    found += [worker(stack, shared, f"{_WORKER}{number}") for number in range(1, stack.settings.workers + 1)]
    prometheus = marked.program("prometheus")
    return [*found, _prometheus(stack, shared, prometheus)] if prometheus else found


def environment(stack: Stack) -> dict[str, str]:
    """What every program of the stack is told, whatever the shell that started it held."""
    dropped = (*_NOT_INHERITED, "AWS_") if stack.settings.profile == "full" else _NOT_INHERITED
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED or not name.startswith(dropped)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept | variables(stack) | {"PATH": path, "PYTHONWARNINGS": "ignore"}


def variables(stack: Stack) -> dict[str, str]:
    """With which programs reach the stack: jobs, commands, and the shell of its user."""
    ports = stack.settings.ports
    told = of_head(token_path(stack), GUARD) | {
        "BFS_HOME": str(stack.home),
        "BFS_STATE": str(stack.folder),  # where `bfs up`, `status` and `down` look
        "BFS_URL": stack.url("service"),
        "MLFLOW_TRACKING_URI": stack.url("mlflow"),
        "RAY_API_SERVER_ADDRESS": stack.url("dashboard"),
        "RAY_ADDRESS": f"127.0.0.1:{ports['ray']}",
    }
    return told | (storage.variables(stack) if stack.settings.profile == "full" else {})


def token_path(stack: Stack) -> Path:
    """The file with the token of the cluster."""
    return stack.folder / "ray.token"


def _mlflow(stack: Stack, shared: Mapping[str, str]) -> Program:
    folder = stack.folder / "mlflow"
    places = (f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri())
    if stack.settings.profile == "full":
        places = storage.database(stack, "mlflow"), storage.folder("mlflow")
    told = {name: value for name, value in shared.items() if name not in server.NOT_INHERITED} | server.SERVER_ENVIRONMENT
    return Program(
        "mlflow",
        server.server_command(stack.settings.ports["mlflow"], *places),
        told,
        stack.url("mlflow"),
        _installed("mlflow"),
        lambda: problem_of(f"{stack.url('mlflow')}/health"),
        ["mlflow"],
        prepare=lambda: folder.mkdir(mode=0o700, exist_ok=True),
        grace_s=30,
    )


def _ray(stack: Stack, shared: Mapping[str, str]) -> Program:
    ports = stack.settings.ports
    inner = {name: stack.inner_port(f"ray/{name}") for name in ("agent", "agent-grpc", "client", *_METRICS_OF_RAY)}
    options = {
        "node-ip-address": "127.0.0.1",
        "port": ports["ray"],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports["dashboard"],
        "include-dashboard": "true",
        "dashboard-agent-listen-port": inner["agent"],
        "dashboard-agent-grpc-port": inner["agent-grpc"],
        "ray-client-server-port": inner["client"],
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": max(_MIN_CPUS, os.cpu_count() or 1),
        "object-store-memory": _STORE_BYTES,
        "temp-dir": stack.ray_folder,
    }
    told = {name: value for name, value in shared.items() if name not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")}

    def prepare() -> None:
        forget_sessions(stack)
        stack.home.mkdir(mode=0o700, exist_ok=True)
        token_path(stack).write_text(stack.secrets["ray"], encoding="utf-8")

    def problem() -> str | None:
        agent = f"http://127.0.0.1:{inner['agent']}/api/local_raylet_healthz"
        return problem_of(f"{stack.url('dashboard')}/api/gcs_healthz") or problem_of(agent)

    return Program(
        "ray",
        [*_RAY, "start", "--head", "--block", "--disable-usage-stats", *(f"--{name}={value}" for name, value in options.items())],
        told | {name: str(inner[name]) for name in _METRICS_OF_RAY},
        stack.url("dashboard"),
        _installed("ray"),
        problem,
        ["ray", "dashboard"],
        prepare=prepare,
        cwd=Path.cwd(),  # `ray job submit` without a working directory runs what it names here
    )


def is_worker(name: str) -> bool:
    """Whether a part of this name is a node beside the head."""
    return name.startswith(_WORKER)


def worker(stack: Stack, shared: Mapping[str, str], name: str) -> Program:
    """One more node of the cluster, on this machine: what runs on it can be lost without the head."""
    agent = stack.inner_port(f"{name}/agent")
    size = ["--cpus", str(max(1, os.cpu_count() or 1)), "--object-store-bytes", str(_STORE_BYTES), "--agent-port", str(agent)]
    address = f"127.0.0.1:{stack.settings.ports['ray']}"
    return Program(
        name,
        [sys.executable, "-m", "bfs_platform.cluster.node", address, *size],
        {variable: value for variable, value in shared.items() if variable not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")},
        f"http://127.0.0.1:{agent}",
        _installed("ray"),
        lambda: problem_of(f"http://127.0.0.1:{agent}/api/local_raylet_healthz"),
        needs=["ray"],
        cwd=Path.cwd(),
    )


def forget_sessions(stack: Stack) -> None:
    """Keep the logs of Ray's last session, and remove everything else of it: sockets, snapshots, spilled objects."""
    last = stack.ray_folder / "session_latest" / "logs"
    if last.is_dir():
        kept = stack.logs / "ray-last-session"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(last, kept)
    shutil.rmtree(stack.ray_folder, ignore_errors=True)


def _prometheus(stack: Stack, shared: Mapping[str, str], path: str) -> Program:
    folder, port = stack.folder / "prometheus", stack.settings.ports["prometheus"]
    config = folder / "prometheus.yaml"
    options = {
        "config.file": config,
        "storage.tsdb.path": folder / "data",
        "storage.tsdb.retention.time": "15d",
        "web.listen-address": f"127.0.0.1:{port}",
    }

    def prepare() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        config.write_text(yaml.safe_dump(_scraped(stack), sort_keys=False), encoding="utf-8")

    return Program(
        "prometheus",
        [path, *(f"--{name}={value}" for name, value in options.items())],
        shared,
        stack.url("prometheus"),
        partial(printed_version, path, "--version"),
        lambda: problem_of(f"{stack.url('prometheus')}/-/ready"),
        ["prometheus"],
        prepare=prepare,
        grace_s=20,
    )


def _scraped(stack: Stack) -> dict[str, object]:
    """What Prometheus reads: the service, and the targets that Ray writes down; with the rules of the repository where they are."""
    rules = sorted((ROOT / "infra" / "prometheus").glob("*.rules.yaml"))
    service = [f"127.0.0.1:{stack.settings.ports['service']}"]
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {"job_name": "bfs", "static_configs": [{"targets": service}]},
            {"job_name": "ray", "file_sd_configs": [{"files": [str(stack.ray_folder / "prom_metrics_service_discovery.json")]}]},
        ],
    }


def _installed(package: str) -> Callable[[], str]:
    return lambda: metadata.version(package)


def printed_version(path: str, option: str) -> str:
    """The first number with dots in what a program says of itself."""
    done = subprocess.run([path, option], capture_output=True, text=True, timeout=60, check=False)
    words = (done.stdout + done.stderr).split()
    found = next((word.strip("(),v") for word in words if word.strip("(),v")[:1].isdigit() and "." in word), None)
    if found is None:
        raise BadInput("program", path, f"does not say its version when asked with {option}", "install it anew")
    return found
