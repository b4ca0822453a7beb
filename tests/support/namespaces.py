"""Other machines: namespaces of this one, on a bridge. They reach each other and this machine by its address there alone, and a program
sees the processes of its own machine; the disk is the same."""

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

_PORT_SCRIPT = """
import socket, sys
for port in map(int, sys.argv[2:]):
    with socket.socket() as probe:
        probe.settimeout(10)
        print(port, probe.connect_ex((sys.argv[1], port)), flush=True)
"""


def unavailable() -> str:
    """Why there can be none here; empty where there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"bfs-try-{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass(frozen=True)
class Machine:
    """A namespace: `address` is its own, `host` that of the machine that runs the tests, `init` its first process as seen from there."""

    name: str
    address: str
    host: str
    init: int

    @property
    def prefix(self) -> list[str]:
        """What runs a command there."""
        return ["nsenter", f"--target={self.init}", "--net", "--mount", "--pid", "--"]

    def unplug(self) -> None:
        """Take its cable away, with all that runs on it."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """Back again."""
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def reached(self, python: str, ports: list[int]) -> list[int]:
        """Those of this machine's `ports` where a program there is answered."""
        command = [*self.prefix, python, "-c", _PORT_SCRIPT, self.host, *map(str, ports)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60 + 10 * len(ports)).stdout
        return [int(line.split()[0]) for line in told.splitlines() if line.split()[1] == "0"]


@contextlib.contextmanager
def machines(num: int) -> Iterator[list[Machine]]:
    """So many machines on a bridge of their own, which is gone at the end with all that still runs there."""
    mark, net = secrets.token_hex(2), f"10.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}"
    bridge, names = f"bfsbr{mark}", [f"bfs{mark}{i}" for i in range(num)]
    made: list[Machine] = []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, name in enumerate(names):
            outside = f"bfs{mark}v{number}"
            _ip("netns", "add", name)
            machine = Machine(name, f"{net}.{10 + number}", f"{net}.1", _first_process(name))
            made.append(machine)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outside, "master", bridge, "up")
            for words in (
                ["link", "set", "lo", "up"],
                ["addr", "add", f"{machine.address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
            ):
                _ip("-n", machine.name, *words)
        yield made
    finally:
        for name in names:
            _end_all(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


def _first_process(name: str) -> int:
    """Starts what holds the namespaces of a machine. With it, all that runs there ends."""
    holding = ["ip", "netns", "exec", name, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]
    process = psutil.Process(subprocess.Popen(holding, start_new_session=True).pid)
    for _ in range(1000):
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() == "sleep":  # and its /proc is mounted
                    return child.pid
        time.sleep(0.01)
    raise AssertionError(f"no process could be started in {name}")


def _end_all(name: str) -> None:
    for _ in range(50):
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout.split()
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        time.sleep(0.1)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
