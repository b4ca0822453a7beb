"""Ray clusters: a private one that this process starts and ends, or a running one that it joins.

The environment must be settled before (`cluster.environment`); this is where Ray is imported.
"""

import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.weight.licence import ACCEPT_VARIABLE
from bfs_platform.cluster.environment import temporary_root
from bfs_platform.console.screen import say

# Ray names its sockets `<directory>/session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store`, and the name of a socket has
# at most 107 bytes: so many are left for the directory.
LONGEST_DIRECTORY = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.12345")
_LONGEST_ROOT = LONGEST_DIRECTORY - len("/bfs-12345678/ray")
# An acknowledgement of whoever starts a job counts for its workers on other machines as well.
_TOLD = (
    *("MLFLOW_TRACKING_URI", "BFS_HOME", "HF_HUB_OFFLINE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ACCEPT_VARIABLE,
)
_directory: Path | None = None


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: everything ends as after Ctrl-C."""


def is_connected() -> bool:
    """Whether this process is connected to a cluster; does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def start_private(num_cpus: int, **options: Any) -> str:
    """Start a cluster of this machine that ends with `leave`, and return its address. `options` go to `ray.init`.

    Its directory is its own: Ray opens its directories to everybody, so it gets one inside a closed one, and `ray job submit`,
    which looks in the usual place, does not find it. Ray gives itself 30 seconds, which on a busy machine may be too few: it
    gets them twice.
    """
    import ray

    for last_try in (False, True):
        try:
            # "local" never attaches to whatever cluster happens to run on this machine.
            with _agent_on_any_port(), _sigterm_kept():
                context: Any = ray.init("local", num_cpus=num_cpus, include_dashboard=False, **_places(), **options)
            break
        except Exception as error:
            leave()
            if "timed out during startup" not in str(error):
                raise
            if last_try:
                raise RuntimeError("Ray did not start within twice 30 seconds; try again when this machine is less busy") from None
            say("Ray did not start within 30 seconds; trying once more.")
    address = str(context.address_info["address"])
    if not address.startswith("127."):
        leave()
        raise RuntimeError("Ray would listen on more than the loopback interface; its start was undone")
    return address


@contextmanager
def _agent_on_any_port() -> Iterator[None]:
    """Leave port 52365 to the clusters that people start: whose agent cannot have it refuses all jobs. `ray.init` has no word for it."""
    from unittest.mock import patch  # brings asyncio along, for which commands that need no cluster would wait

    from ray._private.parameter import RayParams

    at_any_port = partialmethod(RayParams.__init__, dashboard_agent_listen_port=0)
    with patch.object(RayParams, "__init__", at_any_port):
        yield


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes SIGTERM and aborts the process at it, with a trace in C++ and directories left behind; give it back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminated if before in (signal.SIG_DFL, None) else before)


def _terminated(number: int, frame: object) -> None:
    raise Terminated


def join(address: str) -> None:
    """Connect to the cluster at `address`, the one of `RAY_ADDRESS`. Raises `BadInput` when that fails."""
    import ray

    try:
        with _sigterm_kept():
            ray.init(logging_level=logging.WARNING, runtime_env=_own_environment())
    except ConnectionError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput("RAY_ADDRESS", address, f"cannot be reached ({reason})", "unset it to start a private cluster") from None


def leave() -> None:
    """Disconnect; a private cluster ends, and its directory with it."""
    global _directory
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()
    if _directory is not None:
        _remove(_directory)
        _directory = None


def keep_logs() -> Path | None:
    """Where the logs of a private cluster lie; from now on they stay there when it ends."""
    global _directory
    kept, _directory = _directory, None
    return None if kept is None else kept / "ray" / "session_latest" / "logs"


def _places() -> dict[str, Any]:
    """Directories of a private cluster: where the user keeps temporary files, but where that is too deep for sockets, in /tmp."""
    global _directory
    wanted = temporary_root()
    if not (wanted.is_dir() and os.access(wanted, os.W_OK | os.X_OK)):
        variable = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
        raise BadInput(variable, wanted, "is no directory that this process can write to", "name one, or unset it")
    short = wanted if len(os.fsencode(wanted)) <= _LONGEST_ROOT else Path("/tmp")
    if _directory is None:
        _directory = Path(tempfile.mkdtemp(prefix="bfs-", dir=short))
        atexit.register(leave)  # also for who never calls it
    places: dict[str, Any] = {"_temp_dir": str(_directory / "ray")}
    if short != wanted:  # what does not fit into memory is large, and goes where there is room for it
        places["object_spilling_directory"] = str(wanted)
    return places


def _own_environment() -> dict[str, Any] | None:
    """What processes of a running cluster must know of this one: its registry and its home. A submitted job's know already."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    values = {name: os.environ[name] for name in _TOLD if os.environ.get(name)}
    return {"env_vars": values} if values else None


def _remove(directory: Path) -> None:
    """Delete Ray's directory; its last processes may still be writing into it."""
    for _ in range(10):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.3)
