"""Run a command on a leash: when standard input closes, so when whoever holds the other end is gone, its process group dies.

A `finally` does not run after SIGKILL and an `atexit` not after SIGTERM; a closed pipe is noticed in every case.
Started as a script by path, so it imports nothing but the standard library.
"""

import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

GRACE_S = 5.0


def main(command: list[str]) -> int:
    """Run `command` in its own process group until it ends or standard input closes. Returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while child.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1024):
                break
    finally:
        _end_group(child)
    return child.returncode


def _leave(*_: Any) -> None:
    raise SystemExit(143)


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, a grace period, SIGKILL: to the whole group, since a server's workers outlive their parent."""
    deadline = time.monotonic() + GRACE_S
    _signal(child.pid, signal.SIGTERM)
    while time.monotonic() < deadline:
        if child.poll() is not None and not _signal(child.pid, 0):
            return
        time.sleep(0.05)
    _signal(child.pid, signal.SIGKILL)
    child.wait()


def _signal(group: int, number: int) -> bool:
    """Send a signal to the group; False when it has no members left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
