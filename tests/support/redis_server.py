"""A Redis server for as long as a test needs it: where Ray keeps what the head knows."""

import contextlib
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bfs_platform.processes import free_port


@dataclass(frozen=True)
class Redis:
    """`address`: HOST:PORT."""

    address: str
    password: str


@contextlib.contextmanager
def redis_server(folder: Path, host: str) -> Iterator[Redis]:
    """Start one at an address of this machine. Skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed")
    folder.mkdir()
    found = Redis(f"{host}:{free_port()}", secrets.token_hex(16))
    port = found.address.rpartition(":")[2]
    command = [program, "--bind", host, "--port", port, "--requirepass", found.password, "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
                    break
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            yield found
        finally:
            process.kill()
