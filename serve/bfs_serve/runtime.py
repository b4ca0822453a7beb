"""Bringing the service up on this machine or on a cluster, and taking it down so that nothing is left."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bfs_model.errors import BadInput
from bfs_platform.cluster import connection
from bfs_platform.cluster.environment import PROXIES, joins_cluster, settle_joining, settle_private
from bfs_serve.app import INGRESS, SAMPLER, AppArgs, build, check_batch
from bfs_serve.edge.loopback import is_loopback
from bfs_serve.edge.signature import SECRET_VARIABLE
from bfs_serve.keys import KEYS_FILE_VARIABLE, read_keys
from bfs_serve.telemetry.logs import log

if TYPE_CHECKING:
    from bfs_serve.job.engine import Engine

APP_NAME = "bfs"
READY_WITHIN_S = 60.0
LOADED_WITHIN_S = 600.0  # where Serve does not wait for a sampler, because there may be none
PORT_WITHIN_S = 10.0  # a service whose main process was killed gives its port back after a second or two
GUARD = "bfs_serve.guard:middlewares"
PROXY = PROXIES | {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": GUARD}
REQUEST_TIMEOUT_S = 900.0  # followers of events come back with Last-Event-ID; nobody else may take so long


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """How this machine reaches it, also where it listens on all addresses."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port).url


def check(args: AppArgs, address: Address) -> None:
    """Find out what would keep the service from starting before anything is started. Raises `BadInput`."""
    from bfs_serve.model.sampler import load_engine
    from bfs_serve.store.blobs import Blobs
    from bfs_serve.store.jobs import JobStore

    keys_file = os.environ.get(KEYS_FILE_VARIABLE)
    if keys_file:
        read_keys(keys_file)
    elif not is_loopback(address.host):
        raise BadInput("host", address.host, "is open to others and there are no API keys", f"use 127.0.0.1, or set {KEYS_FILE_VARIABLE}")
    engine = load_engine(args.engine)
    check_batch(args)
    placed = args.placed()
    Blobs(placed.blobs)
    with contextlib.closing(JobStore(placed.store)) as store:
        _check_models(engine, args.models, asyncio.run(store.published()))
    check_port(address)


def _check_models(engine: "type[Engine]", names: list[str], published: dict[str, tuple[str, dict[str, Any]]]) -> None:
    """Models that are there; one that was served before may be in a registry that is away: its version lies in the cache."""
    from bfs_platform.registry.store import Unreachable

    for name in names:
        try:
            engine.locate(name)
        except Unreachable:
            if not published.get(name, ("", {}))[0]:
                raise


def check_port(address: Address) -> None:
    """Wait until the port is free. Raises `BadInput` when it stays taken, or cannot be used at all."""
    if not 1 <= address.port <= 65535:
        raise BadInput("port", address.port, "is not a port", "choose one from 1 to 65535")
    deadline = time.monotonic() + PORT_WITHIN_S
    while (error := _bound(address)) is not None:
        if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            rule = f"cannot be used on {address.host} ({error.strerror})"
            raise BadInput("port", address.port, rule, "choose another with --port")
        time.sleep(0.2)


def _bound(address: Address) -> OSError | None:
    """Why nobody can listen there."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error
    return None


@contextlib.contextmanager
def ray_running(num_cpus: int, verbose: bool) -> Iterator[None]:
    """Ray, connected: the cluster of RAY_ADDRESS, or one of our own that ends with the block."""
    os.umask(0o077)
    ours = PROXY | {"RAY_LOG_TO_DRIVER": "1" if verbose else "0"}
    try:
        if joins_cluster():
            connection.join(settle_joining(ours))
        else:
            os.environ.setdefault(SECRET_VARIABLE, secrets.token_hex(32))
            settle_private(ours)
            connection.start_private(num_cpus, logging_level=logging.INFO if verbose else logging.WARNING)
        yield
    finally:
        connection.leave()


class Service:
    """The application on a connected cluster."""

    def __init__(self, args: AppArgs, address: Address, verbose: bool) -> None:
        self._args, self._address, self._verbose = args, address, verbose
        self._owns_serve = self._deployed = False

    def start(self) -> None:
        """Deploy and return when the model is loaded. Raises `RuntimeError` when it cannot be, `BadInput` for a wrong cluster."""
        from ray import serve

        quiet = None if self._verbose else {"log_level": "WARNING"}
        if quiet:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its import set it to INFO
        status = serve.status()
        if APP_NAME in status.applications:
            remedy = f"stop that one first, or let callers use it; `serve.delete({APP_NAME!r})` ends one that was left behind"
            raise BadInput("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"), f"serves an application {APP_NAME!r} already", remedy)
        application = build(self._args)
        self._owns_serve = not status.proxies
        options: dict[str, Any] = {"host": self._address.host, "port": self._address.port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(proxy_location="HeadOnly", http_options=options, logging_config=quiet)
        self._deployed = True
        try:
            serve.run(application, name=APP_NAME, route_prefix="/", logging_config=quiet)
        except RuntimeError as error:
            raise RuntimeError(_why() or str(error)) from None
        self._await_ready()

    def _await_ready(self) -> None:
        """Ask the service itself, through its socket. Raises `RuntimeError` when it does not become ready."""
        request = urllib.request.Request(f"{self._address.local_url}/readyz")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is not behind its proxy
        patience_s = READY_WITHIN_S if self._args.min_replicas else LOADED_WITHIN_S
        deadline, said = time.monotonic() + patience_s, ""
        while time.monotonic() < deadline:
            try:
                with direct.open(request, timeout=10):
                    return
            except urllib.error.HTTPError as error:
                with error:
                    problem = _problem(error.read())
                said = str(problem.get("detail", f"{self._address.url} answers {error.code}"))
                if str(problem.get("type")).endswith(":guard-missing"):
                    remedy = f"start its nodes with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH={GUARD}, and all with one {SECRET_VARIABLE}"
                    raise BadInput("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"), "runs Serve without our edge guard", remedy) from None
            except OSError as error:
                said = f"{self._address.url} does not answer ({error}); Serve may run there already, on another port"
            time.sleep(0.3)
        raise RuntimeError(said)

    def drain(self, grace_s: float) -> int:
        """Take no more jobs on, wait up to `grace_s` for those that replicas of this service are at; the store keeps the others.

        Returns how many are left.
        """
        from ray import serve

        handles = [serve.get_deployment_handle(name, APP_NAME) for name in (INGRESS, SAMPLER)]
        deadline = time.monotonic() + grace_s
        while (left := sum(map(_draining, handles))) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(0.5)  # let the last answers leave the proxy
        return left

    def stop(self) -> None:
        """Take the application down, and Serve with it if it was not running before."""
        from ray import serve

        if self._owns_serve:
            serve.shutdown()
        elif self._deployed:
            serve.delete(APP_NAME)


def _draining(handle: Any) -> int:
    """Tell all replicas of a deployment to take nothing more on, also those that have just replaced others. Returns how many jobs they
    are still at: one where a replica does not answer in time, since it may be at something; none where it is gone, since what it did
    is recovered by its lease."""
    try:
        answers = handle.broadcast("drain").results(timeout_s=10, return_exceptions=True)
    except TimeoutError:
        return 1
    except Exception as error:
        log.info("a deployment is not drained", error=f"{type(error).__name__}: {error}"[:500])
        return 0
    return sum(answer if isinstance(answer, int) else isinstance(answer, TimeoutError) for answer in answers)


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
