"""Questions to a program of this machine: does it answer, and what."""

import json
import socket
import urllib.error
import urllib.request
from typing import Any

_PATIENCE_S = 5.0
# A proxy knows nothing of this machine's loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unanswered(Exception):
    """Why there is no answer that was wished for, in one line. `status`: of the answer that there was, 0 for none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


def ask(url: str, token: str = "", method: str = "GET", body: Any = None, within_s: float = _PATIENCE_S) -> bytes:
    """The body of the answer to a request of this machine. Raises `Unanswered`."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers | ({} if data is None else {"Content-Type": "application/json"}), method=method)
    try:
        with _DIRECT.open(request, timeout=within_s) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(2000).decode("utf-8", "replace").strip().splitlines()
        raise Unanswered(f"{url} answers {error.code}" + (f": {said[-1][:300]}" if said else ""), error.code) from None
    except (urllib.error.URLError, OSError) as error:
        raise Unanswered(f"{url} does not answer ({getattr(error, 'reason', error)})") from None


def ask_json(url: str, token: str = "") -> Any:
    """The answer as JSON. Raises `Unanswered`."""
    try:
        return json.loads(ask(url, token))
    except ValueError:
        raise Unanswered(f"{url} answers something else than JSON") from None


def problem_of(url: str) -> str | None:
    """Why a probe fails; None when it is answered with success."""
    try:
        ask(url)
    except Unanswered as reason:
        return str(reason)
    return None


def is_free(port: int) -> bool:
    """Whether a program may listen on a port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, so that TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
