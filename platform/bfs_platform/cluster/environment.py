"""Ray's environment, settled in one place before Ray is imported.

Ray reads its variables while it is imported, in Python and once more in C++; what is set later counts in one and not in the
other. So whoever is about to import Ray asks here first, and nobody else sets a variable of Ray's.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.console.screen import say

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_OUR_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's default warns that it will change
}
# On Linux Ray replaces 127.0.0.1, wherever it is given, by an address that other machines reach, and listens on all interfaces.
# Only the switch that it uses to avoid firewall dialogues on other systems turns that off.
_STAY_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# A proxy that died is missed after three checks. Serve makes one in 10 s, and gives the next proxy 5 s to start, too few on a busy
# machine: it would be ended and started again.
PROXIES = {"RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20"}


def joins_cluster() -> bool:
    """Whether this process is to join a running cluster: `RAY_ADDRESS` names one, also inside a submitted job."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def settle_private(defaults: Mapping[str, str] | None = None) -> None:
    """For a cluster that this process starts: on the loopback interface, and closed to others by a token.

    The token is the one that Ray would find (`found_token`), or else a new one that only this process and its children know.
    Args: `defaults` are further variables of Ray's, for where the user has not set them.
    """
    token = {} if found_token() else {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    _settle(_STAY_ON_LOOPBACK | {"RAY_AUTH_MODE": "token"} | token, defaults)


def settle_joining(defaults: Mapping[str, str] | None = None) -> str:
    """For the running cluster of `RAY_ADDRESS`, whose authentication becomes that of this process. Returns its address.

    Says on stderr when that cluster has none. Raises `BadInput` when it cannot be reached or does not take our token.
    """
    from bfs_platform.cluster.authentication import Authentication, authentication_of

    address = os.environ["RAY_ADDRESS"]
    if address == "auto":
        address = _started_here()
    wanted = authentication_of(address, found_token)
    _settle(_toward(address) | {"RAY_AUTH_MODE": "disabled" if wanted is Authentication.NONE else "token"}, defaults)
    if wanted is Authentication.NONE:
        remedy = "to close it, run `ray get-auth-token --generate` and start it again with RAY_AUTH_MODE=token"
        say(f"The Ray cluster at {address} is open: whoever reaches it can run code there; {remedy}.")
    return address


def of_head(token_path: Path, guard: str) -> dict[str, str]:
    """Variables of a head that is started as a program of its own: as `settle_private`, with the token in a file.

    `guard`: what Serve's proxies load, as module:function. Programs that talk to such a head need them as well.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}
    return _OUR_DEFAULTS | _STAY_ON_LOOPBACK | token | PROXIES | {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": guard}


def found_token() -> str | None:
    """The token that Ray would use, from where Ray looks, in its order: `RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, ~/.ray/auth_token.

    Raises `BadInput` when `RAY_AUTH_TOKEN_PATH` names no readable token.
    """
    given = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if given:
        return given
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    try:
        token = Path(path or Path.home() / ".ray" / "auth_token").read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: there is no home
        if path:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise BadInput("RAY_AUTH_TOKEN_PATH", path, f"cannot be read ({reason})", "name the file that holds the token") from None
        return None
    if path and not token:
        raise BadInput("RAY_AUTH_TOKEN_PATH", path, "holds no token", "`ray get-auth-token --generate` makes one")
    return token or None


def temporary_root() -> Path:
    """Where Ray keeps its sessions if it is not told otherwise: in `RAY_TMPDIR`, `TMPDIR` or /tmp."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _settle(values: Mapping[str, str], defaults: Mapping[str, str] | None) -> None:
    values = dict(values)
    for name, value in (_OUR_DEFAULTS | dict(defaults or {})).items():
        values.setdefault(name, os.environ.get(name, value))
    changed = {name: value for name, value in values.items() if os.environ.get(name) != value}
    if changed and "ray" in sys.modules:
        names = ", ".join(sorted(changed))
        raise RuntimeError(f"Ray was imported before its environment was settled ({names}); call bfs_platform.jobs.connect_ray before that")
    os.environ.update(changed)


def _toward(address: str) -> dict[str, str]:
    host = address.rpartition("://")[2].rsplit(":", 1)[0]
    return {"RAY_ADDRESS": address} | (_STAY_ON_LOOPBACK if host in _LOOPBACK else {})


def _started_here() -> str:
    """The address of the cluster that `ray start` on this machine wrote down last."""
    path = temporary_root() / "ray" / "ray_current_cluster"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise BadInput("RAY_ADDRESS", "auto", f"finds no cluster (there is no {path})", "give its HOST:PORT") from None
