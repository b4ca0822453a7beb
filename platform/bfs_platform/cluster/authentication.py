"""Whether a running Ray cluster asks for a token: asked of the cluster itself, before Ray is imported."""

import enum
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput

_REACH_S = 10.0
_ADDRESS = re.compile(r"(?P<client>ray://)?(?P<place>(?:\[[0-9a-fA-F:]+\]|[^/\[\]:]+):\d{1,5})")
# Calls that every cluster of this version answers, that change nothing, and that stand behind its authentication.
_HEAD, _CLIENT_SERVER = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
_PRIVATE_REMEDY = "unset it to start a private cluster"


class Authentication(enum.Enum):
    """How a cluster lets us in."""

    NONE = "without a token"
    TOKEN = "with our token"


def authentication_of(address: str, find_token: Callable[[], str | None]) -> Authentication:
    """Find out how the cluster at `address` (HOST:PORT or ray://HOST:PORT) lets us in. `find_token` is asked only if it wants one.

    Raises `BadInput` when it cannot be reached, or asks for a token that we lack or that is not its own.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        remedy = "give HOST:PORT, as `ray start --head` prints it; `ray job submit` takes the address of a dashboard"
        raise BadInput("RAY_ADDRESS", address, "is not the address of a Ray cluster", remedy)
    host, port = match["place"].rsplit(":", 1)
    try:  # a listener is found in a moment, or its absence; gRPC would try on and on
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from None
    method = _CLIENT_SERVER if match["client"] else _HEAD
    if _admits(match["place"], method, None, address):
        return Authentication.NONE
    token = find_token()
    if token is None:
        remedy = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, or put the cluster's token into ~/.ray/auth_token"
        raise BadInput("RAY_ADDRESS", address, "asks for a token and none was found", remedy)
    if _admits(match["place"], method, token, address):
        return Authentication.TOKEN
    raise BadInput(_origin(), "<hidden>", f"is not the token of the cluster at {address}", "use the one it was started with")


def _admits(place: str, method: str, token: str | None, address: str) -> bool:
    import grpc

    # As Ray's own channels: never through a proxy.
    options = [("grpc.enable_http_proxy", 0)]
    credentials = _tls(grpc)
    metadata = [("authorization", f"Bearer {token}")] if token else None
    channel = grpc.secure_channel(place, credentials, options) if credentials else grpc.insecure_channel(place, options)
    with channel:
        try:
            channel.unary_unary(method)(b"", timeout=_REACH_S, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return False
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED):
                raise _unreachable(address, "what listens there is no Ray cluster, or still starting") from None
    return True  # any other answer came from behind the authentication


def _tls(grpc: Any) -> Any:
    """Credentials of this process where clusters are encrypted, as Ray is told about them."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    files = []
    for name in ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT"):
        path = os.environ.get(name, "")
        try:
            files.append(Path(path).read_bytes())
        except OSError as error:
            raise BadInput(name, path, f"cannot be read ({error.strerror})", "name a file, or unset RAY_USE_TLS") from None
    return grpc.ssl_channel_credentials(*files)


def _unreachable(address: str, reason: str) -> BadInput:
    return BadInput("RAY_ADDRESS", address, f"cannot be reached ({reason})", _PRIVATE_REMEDY)


def _origin() -> str:
    """Where Ray takes the token from."""
    given = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name, "").strip()]
    return given[0] if given else "~/.ray/auth_token"
