"""What guard and ingress know each other by."""

import pytest

from bfs_serve.edge.signature import SECRET_VARIABLE


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What guard and ingress know each other by."""
    monkeypatch.setenv(SECRET_VARIABLE, "ours")
