"""Shared fixtures. Set-up that must precede the first import of torch, Ray or DeepSpeed happens at the top of this file."""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# One thread per process: the tiny models gain nothing from more, sums are the same on any number of cores, and the
# processes of a Ray test do not fight for two of them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# As in an activated environment: jobs that Ray starts say `python`.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Ray is never without authentication; a token of its own keeps a test run from writing to the home directory.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
# No test may reach a model hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the repository."""
    return _ROOT


@pytest.fixture(scope="session")
def bare_env() -> dict[str, str]:
    """An environment for subprocesses as a user's shell would have it: nothing that adds to the import path."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_", "PYTEST_"))}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One local Ray cluster for the session: 4 logical CPUs, loopback, token authentication, dashboard (job API) on.

    Yields Ray's context: `.address_info["address"]` and `.dashboard_url` (host:port, without a scheme).
    """
    import ray

    context = ray.init(
        num_cpus=4,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        _node_ip_address="127.0.0.1",
        object_store_memory=512 * 1024**2,
        log_to_driver=False,
        logging_level="error",
    )
    yield context
    ray.shutdown()
