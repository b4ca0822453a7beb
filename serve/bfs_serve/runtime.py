"""Bringing the service up on this machine or on a cluster, and taking it down so that nothing is left."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bfs_model.errors import BadInput
from bfs_serve.app import COORDINATOR, AppArgs, build
from bfs_serve.guard import is_loopback
from bfs_serve.keys import KEYS_FILE_VARIABLE, read_keys

APP_NAME = "bfs"
GUARD = "bfs_serve.guard:middlewares"
REQUEST_TIMEOUT_S = 900.0  # followers of events come back with Last-Event-ID; nobody else may take so long


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def check(args: AppArgs, address: Address) -> None:
    """Find out what would keep the service from starting before anything is started. Raises `BadInput`."""
    from bfs_serve.sampler import load_engine

    keys_file = os.environ.get(KEYS_FILE_VARIABLE)
    if keys_file:
        read_keys(keys_file)
    elif not is_loopback(address.host):
        raise BadInput("host", address.host, "is open to others and there are no API keys", f"use 127.0.0.1, or set {KEYS_FILE_VARIABLE}")
    load_engine(args.engine).locate(args.model)
    _check_port(address)


def _check_port(address: Address) -> None:
    if not 1 <= address.port <= 65535:
        raise BadInput("port", address.port, "is not a port", "choose one from 1 to 65535")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            rule = f"cannot be used on {address.host} ({error.strerror})"
            raise BadInput("port", address.port, rule, "choose another with --port") from None


@contextlib.contextmanager
def ray_running(num_cpus: int, verbose: bool) -> Iterator[bool]:
    """Ray, connected: the cluster of RAY_ADDRESS, or one of our own that ends with the block. Yields whether it is our own."""
    os.umask(0o077)  # Ray writes logs and its token for everybody to read otherwise
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", GUARD)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "info" if verbose else "warning"}
    if os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(**logging)
        except ConnectionError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInput("RAY_ADDRESS", os.environ["RAY_ADDRESS"], f"cannot be reached ({reason})", "unset it") from None
        own, directory = False, None
    else:
        own, directory = True, tempfile.mkdtemp(prefix="bfs-")
        ray.init("local", num_cpus=num_cpus, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=directory, **logging)
    try:
        yield own
    finally:
        ray.shutdown()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


class Service:
    """The application on a connected cluster."""

    def __init__(self, args: AppArgs, address: Address, verbose: bool) -> None:
        self._args, self._address, self._verbose = args, address, verbose

    def start(self) -> None:
        """Deploy and return when the model is loaded. Raises `RuntimeError` when it cannot be."""
        from ray import serve

        quiet = None if self._verbose else {"log_level": "WARNING"}
        options: dict[str, Any] = {"host": self._address.host, "port": self._address.port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(proxy_location="HeadOnly", http_options=options, logging_config=quiet)
        serve.run(build(self._args), name=APP_NAME, route_prefix="/", logging_config=quiet)

    def drain(self, grace_s: float) -> int:
        """Take no more jobs, wait up to `grace_s` for those under way. Returns how many were canceled."""
        from ray import serve

        canceled = serve.get_deployment_handle(COORDINATOR, APP_NAME).close.remote(grace_s).result(timeout_s=grace_s + 10)
        time.sleep(0.5)  # let the last answers leave the proxy
        return int(canceled)

    def stop(self, own_cluster: bool) -> None:
        """Take the application down; on our own cluster, all of Serve."""
        from ray import serve

        if own_cluster:
            serve.shutdown()
        else:
            serve.delete(APP_NAME)
