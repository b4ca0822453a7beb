"""What every job shares: exit codes, one-line errors, and one way to reach Ray.

Exit codes: 0 done, 1 failure (traceback on stderr), 2 input that the user can correct (one line on stderr), 130 interrupted.
"""

import argparse
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from bfs_model.errors import BadInput

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_REACH_S = 10.0
_TOLD = ("MLFLOW_TRACKING_URI", "BFS_HOME", "HF_HUB_OFFLINE", "DS_ACCELERATOR", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
_MIN_LOCAL_CPUS = 4  # Ray Data's helper actors hold logical CPUs too; on fewer a pipeline can wait for itself


class JobParser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)


def run_job(main: Callable[[], object]) -> NoReturn:
    """Run `main`, print the manifest path it returns as the last line of stdout, and exit by the job contract."""
    sys.exit(exit_code(main, leave=leave_ray))


def exit_code(main: Callable[[], object], leave: Callable[[], None] = lambda: None) -> int:
    """As `run_job`, but return the exit code instead of leaving the process; `leave` is called before the last line."""
    name_accelerator()
    try:
        manifest = main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except Exception as error:
        # Ray wraps what a task raises; `cause` is the exception as it was raised there.
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, BadInput):
            print(cause, file=sys.stderr)
            return 2
        traceback.print_exception(error)
        return 1
    leave()
    sys.stderr.flush()
    print(manifest, flush=True)
    return 0


def name_accelerator() -> None:
    """Tell DeepSpeed that there is no GPU where there is none; it would warn about that in every program that imports diffusers."""
    if not os.path.exists("/dev/nvidiactl"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def connect_ray(num_cpus: int | None = None) -> None:
    """Join the cluster of `RAY_ADDRESS`, or start a private one on the loopback interface; do nothing when already connected.

    Args: `num_cpus` logical CPUs of a private cluster (default: those of the machine, at least 4); a running cluster keeps its own.
    Token authentication is required and usage statistics are off. New files of this process are readable by its user only.
    Raises `BadInput` when `RAY_ADDRESS` names no cluster that can be reached.
    """
    os.umask(0o077)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # today's default warns that it will change
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "local") or _host(address) in _LOOPBACK:
        keep_ray_on_loopback()
    import ray

    if ray.is_initialized():
        return
    if address not in ("", "local"):
        _join_cluster(address)
        return
    _start_cluster(num_cpus or max(_MIN_LOCAL_CPUS, os.cpu_count() or 1))
    if not ray.get_runtime_context().gcs_address.startswith("127."):
        ray.shutdown()
        raise RuntimeError("Ray would listen on more than the loopback interface; its start was undone")


def leave_ray() -> None:
    """Disconnect: what Ray's processes still say, which Ray prints in this process, must not follow the last line."""
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def keep_ray_on_loopback() -> None:
    """Let every port of a Ray node that this process starts bind to 127.0.0.1, and loopback addresses mean loopback.

    On Linux Ray replaces 127.0.0.1, wherever it is given, by an address that other machines reach, and listens on all interfaces.
    Only the switch that it uses to avoid firewall dialogues on other systems turns that off.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for Ray's own processes, and for this one when it imports Ray
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:  # a library has imported Ray already, and with it the switch
        constants.__dict__["ENABLE_RAY_CLUSTER"] = False


def _own_environment() -> dict[str, Any] | None:
    """What processes of a running cluster must know of this one: its registry and its home. A submitted job's know already."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    values = {name: os.environ[name] for name in _TOLD if os.environ.get(name)}
    return {"env_vars": values} if values else None


def _host(address: str) -> str:
    return address.rsplit(":", 1)[0]


def _start_cluster(num_cpus: int) -> None:
    """Start a private cluster. Ray gives itself 30 seconds, which on a busy machine may be too few: it gets them twice."""
    import ray

    for last_try in (False, True):
        try:
            # "local" never attaches to whatever cluster happens to run on this machine.
            ray.init(address="local", num_cpus=num_cpus, include_dashboard=False)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            if last_try:
                raise RuntimeError("Ray did not start within twice 30 seconds; try again when this machine is less busy") from None
            print("Ray did not start within 30 seconds; trying once more.", file=sys.stderr)


def _join_cluster(address: str) -> None:
    import ray

    remedy = "unset it to start a private cluster"
    if re.fullmatch(r"[^/]+:\d+", address):
        try:  # Ray itself would retry for minutes and then abort the process
            socket.create_connection((_host(address), int(address.rsplit(":", 1)[1])), timeout=_REACH_S).close()
        except OSError as error:
            raise BadInput("RAY_ADDRESS", address, f"cannot be reached ({error.strerror or error})", remedy) from None
    try:
        ray.init(logging_level=logging.WARNING, runtime_env=_own_environment())
    except ConnectionError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput("RAY_ADDRESS", address, f"cannot be reached ({reason})", remedy) from None
