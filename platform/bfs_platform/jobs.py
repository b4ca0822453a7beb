"""What every job shares: exit codes, one-line errors, and one way to reach Ray.

Exit codes: 0 done, 1 failure (traceback on stderr), 2 input that the user can correct (one line on stderr), 130 interrupted.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bfs_model.errors import BadInput

_MIN_LOCAL_CPUS = 4  # Ray Data's helper actors hold logical CPUs too; on fewer a pipeline can wait for itself


class JobParser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)


def run_job(main: Callable[[], Path | str]) -> NoReturn:
    """Run `main`, print the manifest path it returns as the last line of stdout, and exit by the job contract."""
    sys.exit(exit_code(main))


def exit_code(main: Callable[[], Path | str]) -> int:
    """As `run_job`, but return the exit code instead of leaving the process."""
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
    sys.stderr.flush()
    print(manifest, flush=True)
    return 0


def connect_ray(num_cpus: int | None = None) -> None:
    """Join the cluster of `RAY_ADDRESS`, or start a private one on the loopback interface; do nothing when already connected.

    Args: `num_cpus` logical CPUs of a private cluster (default: those of the machine, at least 4); a running cluster keeps its own.
    Token authentication is required and usage statistics are off. New files of this process are readable by its user only.
    """
    os.umask(0o077)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # today's default warns that it will change
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        _join_cluster(os.environ["RAY_ADDRESS"])
        return
    num_cpus = num_cpus or max(_MIN_LOCAL_CPUS, os.cpu_count() or 1)
    # "local" never attaches to whatever cluster happens to run on this machine.
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, _node_ip_address="127.0.0.1")


def _join_cluster(address: str) -> None:
    import ray

    try:
        ray.init()
    except ConnectionError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput("RAY_ADDRESS", address, f"cannot be reached ({reason})", "unset it to start a private cluster") from None
