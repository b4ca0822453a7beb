"""What the guard found out about a caller, signed, so that nobody else can say it.

Guard and ingress share a secret: BFS_EDGE_SECRET in the environment of the nodes, or else one that follows from Ray's token,
or on a cluster without one a number that lies in Ray's own store.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bfs_serve.telemetry.amounts import Amounts

SECRET_VARIABLE = "BFS_EDGE_SECRET"
HEADER, COUNTS_HEADER = "x-bfs-caller", "x-bfs-counts"
SCOPES = ("draw", "read", "metrics")
_KV_NAME = b"bfs_edge_secret"
_TOKEN_FILE = Path("~/.ray/auth_token")


@dataclass(frozen=True, slots=True)
class CallerFacts:
    """Who calls: a name, what the key is good for, and how often it may start jobs ("60/minute"; empty: as the service says)."""

    name: str
    scopes: tuple[str, ...] = SCOPES
    rate: str = ""


def secret() -> bytes | None:
    """The secret of this node; None where there is none, so that nothing can be signed or believed."""
    given = os.environ.get(SECRET_VARIABLE) or os.environ.get("RAY_AUTH_TOKEN")
    if not given:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _TOKEN_FILE).expanduser()
        try:
            given = path.read_text(encoding="utf-8").strip()
        except OSError:
            given = _of_open_cluster()
    return hashlib.sha256(b"bfs edge\n" + given.encode()).digest() if given else None


def _of_open_cluster() -> str | None:
    """A secret that whoever can run code in the cluster could read, but nobody who only sends requests to it."""
    if "ray" not in sys.modules:
        return None
    from ray.experimental import internal_kv

    if not internal_kv._internal_kv_initialized():
        return None
    internal_kv._internal_kv_put(_KV_NAME, secrets.token_hex(32).encode(), overwrite=False)
    found = internal_kv._internal_kv_get(_KV_NAME)
    return None if found is None else found.decode()


def signed(caller: CallerFacts, request_id: str, key: bytes) -> str:
    """The value of the header that goes with this one request."""
    return _sealed(asdict(caller), HEADER, request_id, key)


def verified(value: str, request_id: str, key: bytes) -> CallerFacts | None:
    """The caller that the guard named for this request; None when it was somebody else who did."""
    facts = _opened(value, HEADER, request_id, key)
    return None if facts is None else CallerFacts(facts["name"], tuple(facts["scopes"]), facts["rate"])


def signed_counts(counts: Amounts, request_id: str, key: bytes) -> str:
    """What the guard counted, as a header of a request that happens to pass."""
    return _sealed([[*name, amount] for name, amount in counts.items()], COUNTS_HEADER, request_id, key)


def verified_counts(value: str, request_id: str, key: bytes) -> Amounts | None:
    """What was counted; None when it was not the guard that says so."""
    counts = _opened(value, COUNTS_HEADER, request_id, key)
    return None if counts is None else {(name, label): float(amount) for name, label, amount in counts}


def _sealed(content: Any, header: str, request_id: str, key: bytes) -> str:
    body = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    return f"{body}.{_mac(body, header, request_id, key)}"


def _opened(value: str, header: str, request_id: str, key: bytes) -> Any:
    body, _, mac = value.partition(".")
    if not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(body, header, request_id, key).encode()):
        return None
    return json.loads(base64.urlsafe_b64decode(body))


def _mac(body: str, header: str, request_id: str, key: bytes) -> str:
    return hmac.new(key, f"{header}\n{request_id}\n{body}".encode(), hashlib.sha256).hexdigest()
