"""One move of an alias at a time, on whichever machines the movers are.

MLflow has no comparison before a write: tags and aliases are the last writer's. What it lets one writer do alone is to create a
registered model. So whoever moves an alias creates the model `NAME.ALIAS.move-N` first, where N counts the turns that are over; those
who come second wait. A turn that is over is marked by a tag of its own, which is never removed, so no number is taken twice. A mover
that died is outwaited: it may not begin to write after half of what the others wait, so it needs no clock that they share.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bfs_model.errors import BadInput
from bfs_platform.registry.records import Move, write_move
from bfs_platform.registry.store import CONTENT_HASH, Registry, registry_errors

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ANY = "any"
"""For `expected`: wherever the alias is."""

LEASE_S = 60.0
_LOOK_S = 0.25
_WAIT_S = 300.0


class NoTurn(BadInput):
    """The alias could not be moved in time. Nothing is said about whether it should be: to be tried again."""


@dataclass(frozen=True, slots=True)
class Times:
    """The clock by which a turn is held and outwaited; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to move `name@alias`, while it lasts."""

    name: str
    alias: str
    number: int
    began_s: float
    times: Times

    def check(self) -> None:
        """To be asked right before each write. Raises `NoTurn` when others may hold this turn for lost by now."""
        if self.times.now() - self.began_s > LEASE_S / 2:
            raise NoTurn("alias", f"{self.name}@{self.alias}", "took too long to move: the registry is slow", "try again")


@contextmanager
def turn(registry: Registry, name: str, alias: str, times: Times | None = None) -> Iterator[Turn]:
    """Wait for one's turn to move an alias. Raises `NoTurn` when others keep it for five minutes."""
    times = times or Times()
    mine = _taken(registry, name, alias, times)
    try:
        yield mine
    finally:
        _end(registry, mine.name, mine.alias, mine.number)


def move(registry: Registry, version: "ModelVersion", alias: str, previous: str | None, action: str) -> None:
    """In a turn that nobody else has: see that the alias still is where it was, write the move down, then set the alias."""
    name, number = version.name, str(version.version)
    with turn(registry, name, alias) as mine:
        check_expected(name, alias, registry.aliased(name, alias), previous)
        mine.check()
        write_move(registry, name, alias, Move(action, number, previous, version.tags[CONTENT_HASH], time.time()))
        mine.check()
        registry.set_alias(name, alias, number)
        check_expected(name, alias, registry.aliased(name, alias), number)  # by other means than ours


def check_expected(name: str, alias: str, found: str | None, expected: str | None) -> None:
    """Raises: `BadInput` when the alias is not where it is expected (None: nowhere)."""
    if expected not in (ANY, found):
        rule = f"is at version {found or 'none'}, not at {expected or 'none'} as expected: somebody else moved it"
        raise BadInput("alias", f"{name}@{alias}", rule, "look at its history and decide again")


def _taken(registry: Registry, name: str, alias: str, times: Times) -> Turn:
    began, seen, since = times.now(), -1, 0.0
    while times.now() - began < _WAIT_S:
        number, asked = _number(registry, name, alias), times.now()
        if _create(registry, _lock(name, alias, number)):
            if _number(registry, name, alias) == number:
                return Turn(name, alias, number, asked, times)
            _remove(registry, _lock(name, alias, number))  # it was over when we took it
            continue
        if number != seen:
            seen, since = number, times.now()
        elif times.now() - since > LEASE_S:
            _end(registry, name, alias, number)
        times.sleep(_LOOK_S)
    raise NoTurn("alias", f"{name}@{alias}", "is being moved by others all the time", "wait for them to end")


def _end(registry: Registry, name: str, alias: str, number: int) -> None:
    """Mark a turn as over, by whom ever, and tidy up."""
    with registry_errors(registry.uri, "model", name):
        registry.client.set_registered_model_tag(name, f"{_prefix(alias)}{number:08d}", "over")
    _remove(registry, _lock(name, alias, number))


def _number(registry: Registry, name: str, alias: str) -> int:
    with registry_errors(registry.uri, "model", name):
        tags = registry.client.get_registered_model(name).tags
    return 1 + max((int(key.removeprefix(_prefix(alias))) for key in tags if key.startswith(_prefix(alias))), default=0)


def _create(registry: Registry, lock: str) -> bool:
    """Whether we are the one who made it."""
    from mlflow.exceptions import MlflowException

    with registry_errors(registry.uri, "model", lock):
        try:
            registry.client.create_registered_model(lock, description="Somebody moves an alias right now.")
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":
                return False
            raise
    return True


def _remove(registry: Registry, lock: str) -> None:
    from mlflow.exceptions import MlflowException

    with registry_errors(registry.uri, "model", lock):
        try:
            registry.client.delete_registered_model(lock)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _lock(name: str, alias: str, number: int) -> str:
    return f"{name}.{alias}.move-{number}"


def _prefix(alias: str) -> str:
    return f"turn.{alias}."
