"""A PostgreSQL server for as long as a test needs it."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from bfs_platform.processes import free_port


@contextlib.contextmanager
def postgres_server(folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Start one with its files in `folder`; yields a URL with a place for the database's name. Skips the test where there is none.

    `address`: where it listens; who reaches it there is let in.
    """
    found = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    binaries = [Path(path).parent for path in found if path]
    if not binaries:
        pytest.skip("PostgreSQL is not installed")
    folder.mkdir(exist_ok=True)
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        as_user = {"user": "nobody", "group": "nogroup"}
    port, data = free_port(), folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run([binaries[-1] / program, *arguments], check=True, capture_output=True, cwd="/", **as_user)

    run("initdb", "-D", str(data), "-U", "bfs", "-A", "trust", "-N")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    options = f"-p {port} -k {folder} -c listen_addresses={address} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    try:
        yield f"postgresql://bfs@{address}:{port}/"
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # whoever ends a session may have ended it
            server.send_signal(signal.SIGQUIT)  # at once: nothing here is to be kept
        server.wait(30)


def database(server: str) -> str:
    """The URL of an empty database."""
    name = f"t{os.urandom(6).hex()}"
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:") + "postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}{name}"
