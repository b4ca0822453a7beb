"""Promotions of several processes at once, each a machine of its own, against an MLflow server on PostgreSQL."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres import database, postgres_server

from bfs_platform.registry.promote import promote
from bfs_platform.registry.records import history
from bfs_platform.registry.register import register
from bfs_platform.registry.store import Registry
from bfs_platform.tracking.server import mlflow_server
from bfs_platform.tracking.uri import connect

_ROUNDS = 4  # without a turn, both of a pair win now and then only
_PROMOTER = Path(__file__).resolve().parents[2] / "support" / "promoter.py"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose database every machine could reach; what is compared before a write is compared there or nowhere."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))
    with postgres_server(tmp_path / "postgres") as postgres:
        url = database(postgres).replace("postgresql:", "postgresql+psycopg:")
        with mlflow_server(tmp_path / "server", database=url, ready_within_s=300) as uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            yield uri


@contextmanager
def promoter(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that promotes what it is told; its `BFS_HOME` is its own, and so are its locks on files."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, str(_PROMOTER)], env=os.environ | {"BFS_HOME": str(home)}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_two_machines_one_moves_the_alias(registry: str, tmp_path: Path, make_model: Any, passing_smoke: Any) -> None:
    """Both candidates pass their gates beside the same champion and go on at once: one wins, the other is told, each time."""
    champion = promote(str(make_model(0.0, "m0")), smoke=passing_smoke)["version"]
    versions = [register(make_model(float(number), f"m{number}")) for number in range(1, 2 * _ROUNDS + 1)]
    stood = [champion]
    with ExitStack() as stack:
        machines = [stack.enter_context(promoter(tmp_path / name)) for name in ("one", "another")]
        for pair in zip(versions[::2], versions[1::2], strict=True):
            for machine, version in zip(machines, pair, strict=True):
                _tell(machine, version)
            assert [_answer(machine) for machine in machines] == ["ready", "ready"]
            for machine in machines:
                _tell(machine, "go")
            said = [json.loads(_answer(machine)) for machine in machines]
            (won,) = [answer["won"] for answer in said if "won" in answer]
            (lost,) = [answer["lost"] for answer in said if "lost" in answer]
            rule = f"alias=bfs@champion is at version {won}, not at {stood[-1]} as expected: somebody else moved it"
            assert won in pair and lost == f"{rule}; look at its history and decide again."
            assert Registry.open().aliased("bfs", "champion") == won
            stood.append(won)
    assert [(move["previous"], move["version"]) for move in history()] == list(zip([None, *stood], stood, strict=False))
    assert [model.name for model in connect().search_registered_models()] == ["bfs"], "no turn is left behind"
