"""Proxies of the environment: loopback addresses are reached without one, and one that cannot be used is named."""

import os
from importlib.util import find_spec
from urllib.parse import urlsplit

from bfs_model.errors import BadInput

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
# What a library needs for SOCKS, as a module and as a package, and whether it prepares every proxy or just the one that it needs.
_LIBRARIES = {"requests": ("socks", "PySocks", False), "httpx2": ("socksio", "socksio", True)}


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    return host in _LOOPBACK or host.startswith("127.")


def spare_loopback() -> None:
    """Add the loopback addresses to `NO_PROXY`, for this process and those that it starts: MLflow's, Ray's and all others."""
    known = [name for variable in ("no_proxy", "NO_PROXY") for name in os.environ.get(variable, "").split(",")]
    names = list(dict.fromkeys(name.strip() for name in (*known, *_LOOPBACK) if name.strip()))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(names)  # some libraries read one, some the other


def goes_direct(url: str) -> bool:
    """Whether `url` is reached without a proxy, whatever proxies there are: it names this machine, or `NO_PROXY` names it."""
    from urllib.request import proxy_bypass

    return is_loopback(url) or bool(proxy_bypass(urlsplit(url).netloc.rpartition("@")[2]))


def check_proxy(url: str, library: str) -> None:
    """Find out whether what the environment says about proxies can be used by `library` (requests or httpx2) on the way to `url`.

    Raises: `BadInput` that names the variable.
    """
    from urllib.request import getproxies

    if goes_direct(url):
        return
    module, package, wants_all = _LIBRARIES[library]
    proxies = getproxies()
    kinds = [kind for kind in ("http", "https", "all") if proxies.get(kind)]
    needed = kinds if wants_all else [kind for kind in (urlsplit(url).scheme, "all") if kind in kinds][:1]
    for kind in needed:
        _check(_variable(kind, proxies[kind]), proxies[kind], module, package)


def _check(variable: str, proxy: str, module: str, package: str) -> None:
    remedy = "set it to http://HOST:PORT, or unset it"
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        whole = parts.scheme in _SCHEMES and bool(parts.hostname) and not any(c.isspace() for c in proxy) and parts.port != 0
    except ValueError:  # a port that is no number, brackets without an address
        whole = False
    if not whole:
        raise BadInput(variable, _shown(proxy), "is not the address of a proxy", remedy)
    if parts.scheme.startswith("socks") and find_spec(module) is None:
        raise BadInput(variable, _shown(proxy), f"cannot be used: SOCKS needs the package {package}", f"install it, or {remedy}")


def _variable(kind: str, proxy: str) -> str:
    for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY"):
        if os.environ.get(name) == proxy:
            return name
    return f"{kind}_proxy"


def _shown(proxy: str) -> str:
    """Without what may be a password."""
    scheme, mark, place = proxy.rpartition("://")
    return f"{scheme}{mark}{place.rpartition('@')[2]}"
