"""Who may call a service that has no keys: programs of this machine, and no pages of other sites."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from bfs_serve.edge.signature import CallerFacts
from bfs_serve.problems import Problem


def admit_local(scope: Scope, headers: Headers, variable: str) -> CallerFacts | Problem:
    """Only connections to a loopback address, named as such, and not sent by some web page. `variable` would name the file of keys."""
    server = scope.get("server")
    if server is None or not is_loopback(server[0]):
        return Problem("forbidden", f"This service has no API keys, so it answers on loopback only; set {variable}.")
    host = headers.get("host", "")
    if not is_loopback(_split(f"//{host}").hostname or ""):  # else a name that resolves to 127.0.0.1 lets any page in
        return Problem("forbidden", "The Host header does not name this machine; use localhost or 127.0.0.1.")
    origin = headers.get("origin")
    if origin is not None and _split(origin).netloc != host:
        return Problem("forbidden", "Requests from the pages of other sites are not answered.")
    return CallerFacts("local")


def _split(address: str) -> SplitResult:
    """The parts of an address; of what is none, empty ones, which name no place."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
