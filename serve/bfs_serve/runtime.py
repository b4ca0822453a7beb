"""Bringing the service up on this machine or on a cluster, and taking it down so that nothing is left."""

import contextlib
import json
import logging
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.jobs import connect_ray, keep_ray_on_loopback
from bfs_serve.app import COORDINATOR, AppArgs, build
from bfs_serve.guard import is_loopback
from bfs_serve.keys import KEYS_FILE_VARIABLE, read_keys

APP_NAME = "bfs"
READY_WITHIN_S = 30.0
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
def ray_running(num_cpus: int, verbose: bool) -> Iterator[None]:
    """Ray, connected: the cluster of RAY_ADDRESS, or one of our own that ends with the block."""
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", GUARD)
    os.environ.setdefault("RAY_LOG_TO_DRIVER", "1" if verbose else "0")
    with contextlib.ExitStack() as stack:
        if os.environ.get("RAY_ADDRESS"):
            stack.callback(_disconnect)
            connect_ray()
        else:
            # Ray opens its directory to everybody, so it gets one inside a closed one; the names of sockets in it must be short.
            directory = tempfile.mkdtemp(prefix="bfs-", dir="/tmp")
            stack.callback(_remove, directory)
            stack.callback(_disconnect)
            _start_ray(num_cpus, f"{directory}/ray", verbose)
        yield


def _start_ray(num_cpus: int, directory: str, verbose: bool) -> None:
    os.umask(0o077)  # Ray writes its token for everybody to read otherwise
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    keep_ray_on_loopback()
    import ray

    level = logging.INFO if verbose else logging.WARNING
    ray.init("local", num_cpus=num_cpus, include_dashboard=False, _temp_dir=directory, logging_level=level)


def _disconnect() -> None:
    import ray

    ray.shutdown()


def _remove(directory: str) -> None:
    """Delete Ray's directory; its last processes may still be writing into it."""
    for _ in range(10):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            return
        time.sleep(0.3)


class Service:
    """The application on a connected cluster."""

    def __init__(self, args: AppArgs, address: Address, verbose: bool) -> None:
        self._args, self._address, self._verbose = args, address, verbose
        self._owns_serve = False

    def start(self) -> None:
        """Deploy and return when the model is loaded. Raises `RuntimeError` when it cannot be, `BadInput` for a wrong cluster."""
        from ray import serve

        quiet = None if self._verbose else {"log_level": "WARNING"}
        if quiet:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its import set it to INFO
        self._owns_serve = not serve.status().proxies
        options: dict[str, Any] = {"host": self._address.host, "port": self._address.port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(proxy_location="HeadOnly", http_options=options, logging_config=quiet)
        try:
            serve.run(build(self._args), name=APP_NAME, route_prefix="/", logging_config=quiet)
        except RuntimeError as error:
            raise RuntimeError(_why() or str(error)) from None
        self._await_ready()

    def _await_ready(self) -> None:
        """Ask the service itself, through its socket. Raises `RuntimeError` when it does not become ready."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._address.host, self._address.host)
        request = urllib.request.Request(f"{Address(local, self._address.port).url}/readyz")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is not behind its proxy
        deadline, said = time.monotonic() + READY_WITHIN_S, ""
        while time.monotonic() < deadline:
            try:
                with direct.open(request, timeout=10):
                    return
            except urllib.error.HTTPError as error:
                with error:
                    problem = _problem(error.read())
                said = str(problem.get("detail", f"{self._address.url} answers {error.code}"))
                if str(problem.get("type")).endswith(":guard-missing"):
                    remedy = f"start its nodes with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH={GUARD}"
                    raise BadInput("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"), "runs Serve without the edge guard", remedy) from None
            except OSError as error:
                said = f"{self._address.url} does not answer ({error}); Serve may run there already, on another port"
            time.sleep(0.3)
        raise RuntimeError(said)

    def drain(self, grace_s: float) -> int:
        """Take no more jobs, wait up to `grace_s` for those under way. Returns how many were canceled."""
        from ray import serve

        canceled = serve.get_deployment_handle(COORDINATOR, APP_NAME).close.remote(grace_s).result(timeout_s=grace_s + 10)
        time.sleep(0.5)  # let the last answers leave the proxy
        return int(canceled)

    def stop(self) -> None:
        """Take the application down, and Serve with it if it was not running before."""
        from ray import serve

        if self._owns_serve:
            serve.shutdown()
        else:
            serve.delete(APP_NAME)


def _why() -> str:
    """The last line of what Serve knows about a deployment that did not start: the error that its constructor raised."""
    from ray import serve

    application = serve.status().applications.get(APP_NAME)
    messages = [d.message for d in application.deployments.values() if "Traceback" in d.message] if application else []
    lines = [line for message in messages for line in message.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""


def _problem(body: bytes) -> dict[str, Any]:
    """A problem document, or an empty one where another program answers."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
