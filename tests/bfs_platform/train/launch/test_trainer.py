"""Where the workers of a run meet."""

import os
import socket

import psutil
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


@pytest.mark.parametrize("address", ["127.0.0.1", None])
def test_gloo_listens_where_the_node_does(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told the interface that has the node's address, whatever the machine's name means; what the user says counts more."""
    import ray

    from bfs_platform.train.launch.trainer import listen_where_the_node_does

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "chosen")
    listen_where_the_node_does()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "chosen"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    own = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET]
    node = address or own[-1]
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: node)
    listen_where_the_node_does()
    assert node in [a.address for a in psutil.net_if_addrs()[os.environ["GLOO_SOCKET_IFNAME"]]]
