"""A node of a cluster goes away under a build, with all that runs on it; or its head does, and comes back."""

import json
from pathlib import Path

import pytest
from builders import Builder, workers_of
from drawn import write_rorem
from nodes import Nodes, until
from remembering import needs_machines, remembering

from bfs_platform.config import resolve
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec

pytestmark = pytest.mark.soak

NUM_RECORDS = 24
NUM_WHILE_AWAY = 96


def hash_of(source: Path, output: Path) -> str:
    """The content hash of the set that a plain loop in this process makes."""
    spec = resolve("tabletop_pixels", ["records_per_shard=1", "max_reject_rate=0.5", "stage=1"], DataSpec)
    opened = open_source("rorem", source)
    return str(json.loads(build(opened, output, spec, stream=in_process(opened, spec, output)).read_text())["content_hash"])


def test_a_build_survives_the_loss_of_a_node(bare_env: dict[str, str], tmp_path: Path, repo_root: Path) -> None:
    """Two nodes build: one of them is killed, the other goes on, and the set is the one of a plain loop in this process."""
    source = write_rorem(tmp_path / "input", NUM_RECORDS, size=64)
    undisturbed = hash_of(source, tmp_path / "whole")
    with Nodes(tmp_path) as cluster:
        cluster.head()
        nodes = [cluster.add(num_cpus=4) for _ in range(2)]
        builder = Builder(repo_root, source, tmp_path / "out", bare_env | {"RAY_ADDRESS": cluster.gcs}, tmp_path / "log")
        try:
            process = builder.start()
            working: list[int] = []

            def works() -> bool:
                working[:] = [i for i, node in enumerate(nodes) if any(workers_of(node.pid))]
                return bool(working) and builder.num_receipts() > 0

            until(works, builder.log, process)
            cluster.kill(nodes[working[0]])
            assert builder.num_receipts() < NUM_RECORDS, "the build was over before the node was lost, so nothing was tested"
            assert process.wait(900) == 0, builder.said()
            assert builder.committed() == undisturbed
        finally:
            builder.clear()


@needs_machines()
@pytest.mark.parametrize("kept", ["redis", "rocksdb"])
def test_a_build_goes_on_while_the_head_is_away(
    kept: str, bare_env: dict[str, str], tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed under a build on two machines, the head comes back with what Redis or RocksDB kept; the set is the undisturbed one."""
    source = write_rorem(tmp_path / "input", NUM_WHILE_AWAY, size=64)
    undisturbed = hash_of(source, tmp_path / "whole")
    with remembering(tmp_path, monkeypatch, num_cpus=4, kept=kept) as cluster:
        environment = bare_env | {"RAY_ADDRESS": cluster.cluster.gcs}
        builder = Builder(repo_root, source, tmp_path / "out", environment, tmp_path / "log", cluster.machines[0].prefix)
        try:
            process = builder.start()
            builder.wait_for(process, 0)
            assert builder.num_receipts() < NUM_WHILE_AWAY, "the build was over before the head was lost, so nothing was tested"
            cluster.lose_head()
            assert process.wait(900) == 0, builder.said()
            assert builder.committed() == undisturbed
        finally:
            builder.clear()
