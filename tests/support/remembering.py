"""A cluster that outlives its head: each node is a machine of its own, and what the head knows is in Redis, or in RocksDB's files."""

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import namespaces
import pytest
from namespaces import Machine
from nodes import Nodes
from redis_server import redis_server
from storm_service import NICENESS

AWAY_S = 5.0  # longer than Ray's parts ask one another whether they are there


@dataclass
class Remembering:
    """`nodes` without the head: those that work, on `machines`."""

    cluster: Nodes
    machines: list[Machine]
    nodes: list[subprocess.Popen[bytes]]
    head: subprocess.Popen[bytes]
    options: tuple[str, ...]

    def start(self, log: Path, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """A program on the first of the machines that work, which joins the cluster by the node there."""
        return self.cluster.start(log, [*self.machines[0].prefix, *command], RAY_ADDRESS=self.cluster.gcs, **environment)

    def lose_head(self) -> None:
        """Kill it, and start its successor a while later."""
        self.cluster.kill(self.head)
        time.sleep(AWAY_S)
        self.head = self.cluster.head(0, True, *self.options)


@contextlib.contextmanager
def remembering(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, num_nodes: int = 2, num_cpus: int = 2, kept: str = "redis"
) -> Iterator[Remembering]:
    """A head without work and so many nodes. `kept`: where, `redis` or `rocksdb`. Needs root, and Redis for the former."""
    for name, value in (NICENESS | {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}).items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        machines = stack.enter_context(namespaces.machines(1 + num_nodes))
        options = stack.enter_context(keeping(kept, scratch, monkeypatch, machines[0].host))
        cluster = stack.enter_context(Nodes(scratch, machines))
        head = cluster.head(0, True, *options)
        yield Remembering(cluster, machines[1:], [cluster.add(num_cpus) for _ in range(num_nodes)], head, options)


@contextlib.contextmanager
def keeping(kept: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> Iterator[tuple[str, ...]]:
    """Have heads that are started from now on keep what they know in `redis`, a server at `host`, or in `rocksdb`: their own options."""
    if kept == "rocksdb":
        monkeypatch.setenv("RAY_gcs_storage", kept)
        monkeypatch.setenv("RAY_gcs_storage_path", str(scratch / kept))
        yield ()
        return
    with redis_server(scratch / "redis", host) as redis:
        monkeypatch.setenv("RAY_REDIS_ADDRESS", redis.address)
        monkeypatch.setenv("RAY_external_storage_namespace", f"bfs-{secrets.token_hex(4)}")
        yield (f"--redis-password={redis.password}",)


def needs_machines() -> Any:
    """The mark of a test that needs such a cluster."""
    return pytest.mark.skipif(bool(namespaces.unavailable()), reason=namespaces.unavailable() or "-")
