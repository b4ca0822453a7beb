"""A cluster of machines with addresses and cables of their own: its head is lost and comes back, a machine is lost for good."""

import hashlib
import io
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import namespaces
import pytest
from namespaces import Machine
from nodes import Nodes, until
from PIL import Image
from postgres import database, postgres_server
from remembering import keeping, needs_machines
from storm_kills import INGRESS, below
from storm_service import NICENESS

from bfs_serve.edge.signature import SECRET_VARIABLE
from bfs_serve.keys import KEYS_FILE_VARIABLE
from bfs_serve.runtime import PROXY

pytestmark = [pytest.mark.soak, pytest.mark.ray, needs_machines()]

KEY = secrets.token_hex(16)
SIZE = 48, 32
FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7", "steps": "4"}
_WITHIN_S = 900.0


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    """A machine for the head and two that draw, all with one key for callers."""
    keys = tmp_path / "keys"
    keys.write_text(f"me {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    told = {SECRET_VARIABLE: secrets.token_hex(32), KEYS_FILE_VARIABLE: str(keys), "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
    for name, value in (PROXY | NICENESS | told).items():
        monkeypatch.setenv(name, value)
    with namespaces.machines(3) as made:
        yield made


def _png() -> bytes:
    picture = io.BytesIO()
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(picture, "PNG")
    return picture.getvalue()


def _ask(machine: Machine, patience_s: float = _WITHIN_S) -> tuple[int, int]:
    """The size of a layer, by the proxy of one machine; asked again with the same key while it is not there."""
    deadline, said = time.monotonic() + patience_s, ""
    headers = {"Authorization": f"Bearer {KEY}", "Prefer": "wait=60", "Accept": "image/png", "Idempotency-Key": secrets.token_hex(8)}
    with httpx2.Client(base_url=f"http://{machine.address}:8000", timeout=90, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                answer = client.post("/v1/layers", files={"background": _png()}, data=FIELDS, headers=headers)
            except httpx2.HTTPError as error:
                said = repr(error)
            else:
                if answer.status_code == 200:
                    return Image.open(io.BytesIO(answer.content)).size
                said = f"{answer.status_code} {answer.text[:300]}"
            time.sleep(1)
    raise AssertionError(said)


@pytest.mark.parametrize("kept", ["redis", "rocksdb"])
def test_the_head_comes_back_and_a_machine_does_not(
    kept: str, three: list[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is there first, alone, and gets no ingress. What it knew is in Redis, or in RocksDB's files: while it is away the others go
    on answering, its successor finds them, and when one of these loses its cable, the last one draws everything."""
    first, second = three[1:]
    with (
        postgres_server(tmp_path / "postgres", first.host) as server,
        keeping(kept, tmp_path, monkeypatch, first.host) as options,
        Nodes(tmp_path, three) as cluster,
    ):
        head = cluster.head(0, True, *options)
        deploy = [sys.executable, str(Path(__file__).parents[1] / "support" / "deploy_fake.py")]
        places = database(server), str(tmp_path / "blobs")
        log = tmp_path / "deploy.log"
        deploying = cluster.start(log, [*three[0].prefix, *deploy, *places], RAY_ADDRESS=cluster.gcs)
        until(lambda: b"asked" in log.read_bytes(), log, deploying, _WITHIN_S)
        workers = [cluster.add(num_cpus=3) for _ in range(2)]
        until(lambda: b"deployed" in log.read_bytes(), log, deploying, _WITHIN_S)
        assert [len(list(below(node.pid, INGRESS))) for node in (head, *workers)] == [0, 1, 1]
        for machine in (first, second):
            assert _ask(machine) == SIZE

        cluster.kill(head)
        for machine in (first, second):
            assert _ask(machine, patience_s=120) == SIZE  # without a head
        cluster.head(0, True, *options)
        for machine in (first, second):
            assert _ask(machine) == SIZE

        first.unplug()
        assert _ask(second) == SIZE
