"""Which code a Ray job runs when the packages are installed *and* the repository is its working directory."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from sources import PACKAGES, ROOT

pytestmark = pytest.mark.ray

JOB = """#!/usr/bin/env python
import importlib, json, platform
import ray

def look():
    assert platform.system()  # the standard library's, not the folder of that name
    return {name: getattr(importlib.import_module(name), "MARK", "installed") for name in ("bfs_model", "bfs_platform", "bfs_serve")}

ray.init(log_to_driver=False, logging_level="error")
print(json.dumps({"driver": look(), "worker": ray.get(ray.remote(num_cpus=0.1)(look).remote())}))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Laid out like this repository, with packages that hold nothing but a mark, and a job that shows whose it finds."""
    for folder in PACKAGES.values():
        package = tmp_path / folder.relative_to(ROOT)
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('MARK = "snapshot"\n')
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/look.py").write_text(JOB)
    (tmp_path / "jobs/look.py").chmod(0o755)
    shutil.copy(ROOT / "sitecustomize.py", tmp_path)
    return tmp_path


def _submitted(cluster: Any, entrypoint: str, runtime_env: dict[str, Any]) -> dict[str, dict[str, str]]:
    from ray.job_submission import JobStatus, JobSubmissionClient

    deadline = time.monotonic() + 300  # a job of three processes, on a machine that does other things too
    client = JobSubmissionClient(f"http://{cluster.dashboard_url}")
    while (job := _accepted(client, entrypoint, runtime_env)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    assert job is not None, "the cluster accepted no job"
    while not client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
        time.sleep(0.5)
    logs = client.get_job_logs(job)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, logs
    found: dict[str, dict[str, str]] = json.loads(logs.strip().splitlines()[-1])
    return found


def _accepted(client: Any, entrypoint: str, runtime_env: dict[str, Any]) -> str | None:
    """The job's id, or None while the node's agent is still starting."""
    try:
        return str(client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env))
    except RuntimeError as error:
        if "No available agent" not in str(error):
            raise
        return None


@pytest.mark.parametrize(("entrypoint", "with_ours"), [("jobs/look.py", False), ("python jobs/look.py", True)])
def test_the_snapshot_wins_in_every_process(ray_cluster, repository, entrypoint, with_ours) -> None:
    """`--working-dir .`, short form or with our runtime environment: all packages come from the snapshot, none is mixed in."""
    ours = yaml.safe_load((ROOT / "infra/runtime_env.yaml").read_text(encoding="utf-8")) if with_ours else {}
    found = _submitted(ray_cluster, entrypoint, ours | {"working_dir": str(repository)})
    expected = dict.fromkeys(PACKAGES, "snapshot")
    assert found == {"driver": expected, "worker": expected}


def test_the_cluster_listens_on_loopback_only(ray_cluster) -> None:
    """Every port that a process of the cluster listens on is closed to other machines."""
    port = ray_cluster.address_info["address"].split(":")[-1]
    (head,) = [p for p in psutil.Process().children() if f"--port={port}" in p.cmdline()]
    addresses = set[tuple[str, str]]().union(*[_listening(p) for p in head.children(recursive=True)])
    assert {name for name, _ in addresses} >= {"gcs_server", "raylet"}
    assert {address for address in addresses if address[1] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")} == set()


def _listening(process: psutil.Process) -> set[tuple[str, str]]:
    """Name of the process and the addresses that it listens on; nothing of one that has just ended, as idle workers do."""
    try:
        return {(process.name(), c.laddr.ip) for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:
        return set()


def test_without_a_working_directory_the_installed_packages_run(ray_cluster, repository) -> None:
    """A job that brings no code runs what is installed."""
    found = _submitted(ray_cluster, f"python {repository}/jobs/look.py", {})
    expected = dict.fromkeys(PACKAGES, "installed")
    assert found == {"driver": expected, "worker": expected}
