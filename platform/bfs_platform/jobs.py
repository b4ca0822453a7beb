"""What every job shares: exit codes, one-line errors, and one way to reach Ray.

Exit codes: 0 done, 1 failure (one line; of a fault of ours its traceback and where the log is), 2 input that the user can
correct (one line), 130 interrupted, 143 ended by SIGTERM. All of that is on stderr; what libraries print goes into the log,
`--verbose` shows it.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bfs_model.errors import BadInput
from bfs_platform.cluster import connection
from bfs_platform.cluster.environment import joins_cluster, settle_joining, settle_private
from bfs_platform.console import log_file
from bfs_platform.console.screen import answer, say
from bfs_platform.proxies import spare_loopback

_MIN_LOCAL_CPUS = 4  # Ray Data's helper actors hold logical CPUs too; on fewer a pipeline can wait for itself


class Failure(Exception):
    """Something outside our hands went wrong; said in one line, exit code 1."""


class JobParser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line and exits with 2; `--verbose` shows what libraries print."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument(
            "-v", "--verbose", action=_ShowEverything, nargs=0, help="show what libraries print, instead of keeping it in a log"
        )

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        raise SystemExit(2)

    def print_help(self, file: Any = None) -> None:
        """The help is an answer: it goes to the stdout that this program was started with."""
        answer(self.format_help().rstrip()) if file is None else super().print_help(file)


class _ShowEverything(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        setattr(namespace, self.dest, True)
        log_file.show_everything()


def run_job(main: Callable[[], object]) -> NoReturn:
    """Run `main`, print the manifest path it returns as the last line of stdout, and exit by the job contract."""
    log_file.separate(Path(sys.argv[0]).stem)
    sys.exit(exit_code(main, leave=leave_ray))


def exit_code(main: Callable[[], object], leave: Callable[[], None] = lambda: None) -> int:
    """As `run_job`, but return the exit code instead of leaving the process; `leave` is called before the last line."""
    name_accelerator()
    spare_loopback()
    try:
        manifest = main()
    except KeyboardInterrupt as stop:
        say("Interrupted.")
        return 143 if isinstance(stop, connection.Terminated) else 130
    except SystemExit as left:
        if left.code != 2:
            log_file.announce()
        raise
    except Exception as error:
        # Ray wraps what a task raises; `cause` is the exception as it was raised there.
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, BadInput):
            say(str(cause))
            return 2
        if isinstance(error, Failure):
            log_file.announce()
            say(" ".join(str(error).splitlines()))
            return 1
        log_file.show_fault(error)
        if logs := connection.keep_logs():
            say(f"Ray's own logs stay in {logs}.")
        return 1
    leave()
    log_file.announce()
    answer(manifest)
    return 0


def name_accelerator() -> None:
    """Tell DeepSpeed that there is no GPU where there is none; it would warn about that in every program that imports diffusers."""
    if not os.path.exists("/dev/nvidiactl"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def connect_ray(num_cpus: int | None = None) -> None:
    """Join the cluster of `RAY_ADDRESS`, or start a private one on the loopback interface; do nothing when already connected.

    Args: `num_cpus` logical CPUs of a private cluster (default: those of the machine, at least 4); a running cluster keeps its own.
    A private cluster is closed by a token; a running one decides for itself, and it is said when it is open. Call this before
    anything imports Ray. New files of this process are readable by its user only.
    Raises `BadInput` when `RAY_ADDRESS` names no cluster that can be reached, or one that does not take our token.
    """
    os.umask(0o077)
    if connection.is_connected():
        return
    if joins_cluster():
        connection.join(settle_joining())
        return
    settle_private()
    connection.start_private(num_cpus or max(_MIN_LOCAL_CPUS, os.cpu_count() or 1))


def leave_ray() -> None:
    """Disconnect: what Ray's processes still say, which Ray prints in this process, must not follow the last line."""
    connection.leave()
