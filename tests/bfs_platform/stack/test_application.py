"""The deployed service against the settings of its stack."""

import copy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bfs_platform.jobs import Failure
from bfs_platform.stack import application
from bfs_platform.stack.application import Application, holds
from bfs_platform.stack.probe import Unanswered
from bfs_platform.stack.program import UP
from bfs_platform.stack.state import Settings, Stack

WANTED: dict[str, Any] = {
    "name": "bfs",
    "route_prefix": "/",
    "import_path": "bfs_serve.app:build",
    "args": {"model": "tiny"},
    "deployments": [{"name": "sampler", "user_config": {"models": ["tiny"], "follow_s": 30.0, "limits": {"max_queued": 64}}}],
}


@pytest.mark.parametrize(
    ("path", "value", "well"),
    [
        ((), None, True),
        (("runtime_env",), {}, True),  # what Serve adds by itself
        (("deployments", 0, "num_replicas"), 2, True),
        (("args", "model"), "models:/bfs@champion", False),
        (("import_path",), "other:build", False),
        (("deployments", 0, "user_config", "follow_s"), 5.0, False),
        (("deployments", 0, "user_config", "limits", "max_queued"), 8, False),
        (("deployments",), [], False),
    ],
)
def test_it_is_well_when_all_of_its_settings_are_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[Any, ...], value: Any, well: bool
) -> None:
    """Arguments, and what changes in place: limits and the like are applied by the next `up` as well."""
    deployed = copy.deepcopy(WANTED)
    place: Any = deployed
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = value
    monkeypatch.setattr(Application, "state", lambda self, stack: UP)
    monkeypatch.setattr(Application, "_deployed", lambda self, stack: {"deployed_app_config": deployed})
    monkeypatch.setattr(Application, "_render", lambda self, stack: {"applications": [WANTED]})
    assert Application({}).is_well(Stack.new(tmp_path, Settings())) is well


def test_nothing_is_not_something() -> None:
    """An application that was deployed by other means has no configuration."""
    assert not holds(None, WANTED)


@pytest.mark.parametrize(
    ("status", "deployed", "wanted"), [(404, "tiny", "tiny"), (400, None, "tiny"), (404, "models:/bfs@champion", "models:/bfs@champion")]
)
def test_nothing_steps_down_from_a_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, deployed: str | None, wanted: str
) -> None:
    """The embedded model is for where nothing was promoted: not for a registry that was emptied under a service."""
    found = None if deployed is None else {"deployed_app_config": {"args": {"model": deployed}}}
    monkeypatch.setattr(application, "ask", Mock(side_effect=Unanswered("no", status)))
    monkeypatch.setattr(Application, "_deployed", lambda self, stack: found)
    assert Application({})._served_by_default(Stack.new(tmp_path, Settings())) == wanted


def test_a_registry_that_does_not_say_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is slow, or in trouble: the service stays as it is, and that is told."""
    for status in (0, 500):
        monkeypatch.setattr(application, "ask", Mock(side_effect=Unanswered("no answer", status)))
        with pytest.raises(Failure, match="what there is to serve cannot be told"):
            Application({})._served_by_default(Stack.new(tmp_path, Settings()))
