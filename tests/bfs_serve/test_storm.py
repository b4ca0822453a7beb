"""A few dozen requests of all kinds while processes of the service are killed; `tests/soak/test_service_storm.py` is the long form."""

import asyncio
from pathlib import Path

import pytest
from storm import OPTIONS, Storm
from storm_callers import Callers
from storm_kills import CONTROLLER, INGRESS, PROXY, SAMPLER
from storm_service import StormService

pytestmark = pytest.mark.ray

COUNT = 40
# On a busy machine a sampler may be silent for some seconds; that it lost its job then is right, but not what is looked at here.
LEASE_S = "10"


def test_nothing_is_lost_and_nothing_drawn_twice(tmp_path: Path) -> None:
    """Each key is one job, each job comes to an end, each picture is what its seed gives; and the service can still be stopped."""
    with StormService(tmp_path, *OPTIONS, "--lease-s", LEASE_S) as service:
        callers = Callers(service.url, COUNT, seed=7, patience_s=600)
        storm = Storm(service, callers, lambda: service.pids, pause_s=None, blows=(SAMPLER, INGRESS, PROXY, CONTROLLER))
        asyncio.run(storm.run())
        print(storm.seen())
        assert service.stop() == 0
    assert storm.faults() == []
