"""The service from outside: what can be asked and what is answered, and clients that ask, blocking or awaited.

    from bfs_platform.client import BFSClient

    with BFSClient("http://127.0.0.1:8000") as client:
        drawn = client.draw("room.png", (40, 60, 200, 220), "a red sphere", seed=7)

Fields and views are shared with the service itself. How the service answers belongs to `bfs_serve`, what commands show of it to
`cli`. Stands on `bfs_model` and `proxies`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfs_platform.client.aio import AsyncBFSClient as AsyncBFSClient
    from bfs_platform.client.blocking import BFSClient as BFSClient
    from bfs_platform.client.errors import ServiceError as ServiceError

_PLACES = {"AsyncBFSClient": "aio", "BFSClient": "blocking", "ServiceError": "errors"}


def __getattr__(name: str) -> Any:
    """Clients are imported when they are first asked for: the service needs fields and views only."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
