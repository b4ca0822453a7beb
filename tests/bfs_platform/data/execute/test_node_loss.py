"""A node of a cluster goes away under a build, with all that runs on it."""

import json
from pathlib import Path

import pytest
from builders import Builder, workers_of
from drawn import write_rorem
from nodes import Nodes, until

from bfs_platform.config import resolve
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec

pytestmark = pytest.mark.soak

NUM_RECORDS = 24


def test_a_build_survives_the_loss_of_a_node(bare_env: dict[str, str], tmp_path: Path, repo_root: Path) -> None:
    """Two nodes build: one of them is killed, the other goes on, and the set is the one of a plain loop in this process."""
    source = write_rorem(tmp_path / "input", NUM_RECORDS, size=64)
    spec = resolve("tabletop_pixels", ["records_per_shard=1", "max_reject_rate=0.5", "stage=1"], DataSpec)
    opened = open_source("rorem", source)
    whole = json.loads(build(opened, tmp_path / "whole", spec, stream=in_process(opened, spec, tmp_path / "whole")).read_text())
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
            assert builder.committed() == whole["content_hash"]
        finally:
            builder.clear()
