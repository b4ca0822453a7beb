"""Promotions of several machines at once: one moves the alias, whoever dies is outwaited, whoever is late writes nothing."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bfs_model.errors import BadInput
from bfs_platform.registry import promote as promote_module
from bfs_platform.registry import turn as turn_module
from bfs_platform.registry.promote import promote
from bfs_platform.registry.records import history
from bfs_platform.registry.register import register
from bfs_platform.registry.store import Registry
from bfs_platform.registry.turn import LEASE_S, Times, turn
from bfs_platform.tracking.uri import connect


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    at_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        self.slept.append(seconds)

    @property
    def times(self) -> Times:
        return Times(lambda: self.at_s, self.sleep)


def locks() -> list[str]:
    """Turns that somebody has now."""
    return [model.name for model in connect().search_registered_models() if ".move-" in model.name]


@pytest.fixture
def known(store_uri, make_model) -> Registry:
    """A registry with one model."""
    register(make_model())
    return Registry.open()


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoters do not see each other's locks on files, as on several machines."""

    @contextlib.contextmanager
    def apart(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(promote_module, "_alone", apart)


def test_of_promotions_at_once_one_wins(store_uri, make_model, passing_smoke, machines) -> None:
    """All pass their gates against the same champion; one moves the alias, the others are told, and the history has one line."""
    first = promote(str(make_model(0.0, "m0")), smoke=passing_smoke)["version"]
    versions = [register(make_model(float(i), f"m{i}")) for i in range(1, 5)]
    together = threading.Barrier(len(versions))
    won: list[str] = []
    lost: list[BadInput] = []

    def smoke(folder: object, spec: object) -> str:
        together.wait(60)
        return "fake"

    def run(version: str) -> None:
        try:
            won.append(promote(f"models:/bfs/{version}", smoke=smoke)["version"])
        except BadInput as error:
            lost.append(error)

    threads = [threading.Thread(target=run, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 3 and all("somebody else moved it" in str(error) for error in lost)
    assert [(move["previous"], move["version"]) for move in history()] == [(None, first), (first, won[0])]
    assert Registry.open().aliased("bfs", "champion") == won[0] and locks() == []


def test_turns_follow_each_other(known: Registry) -> None:
    """Each has the next number, and none stays."""
    for number in (1, 2, 3):
        with turn(known, "bfs", "champion") as mine:
            assert mine.number == number and locks() == [f"bfs.champion.move-{number}"]
    assert locks() == []


def test_a_mover_that_died_is_outwaited(known: Registry) -> None:
    """Its turn is over after as long as others wait; until then nobody moves the alias."""
    connect().create_registered_model("bfs.champion.move-1")
    clock = Clock()
    with turn(known, "bfs", "champion", clock.times) as mine:
        assert mine.number == 2 and clock.at_s > LEASE_S
    assert locks() == []


def test_who_waits_goes_on_when_a_turn_ends(known: Registry) -> None:
    """Not only after the lease."""
    clock = Clock()
    other = turn(known, "bfs", "champion")
    other.__enter__()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 3:
            other.__exit__(None, None, None)

    with turn(known, "bfs", "champion", Times(lambda: clock.at_s, sleep)) as mine:
        assert mine.number == 2 and clock.at_s < LEASE_S


def test_a_slow_mover_writes_nothing(known: Registry) -> None:
    """Others may hold its turn for lost from then on."""
    clock = Clock()
    with turn(known, "bfs", "champion", clock.times) as mine:
        mine.check()
        clock.sleep(LEASE_S / 2 + 1)
        with pytest.raises(BadInput, match="took too long"):
            mine.check()


def test_a_number_that_was_over_is_not_taken(known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before a turn ended, taken after: it is given back, and the next one is taken."""
    with turn(known, "bfs", "champion"):
        pass
    asked: list[int] = []
    real = turn_module._number

    def late(*given: object) -> int:
        asked.append(1)
        return 1 if len(asked) == 1 else real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(turn_module, "_number", late)
    with turn(known, "bfs", "champion") as mine:
        assert mine.number == 2 and locks() == ["bfs.champion.move-2"]


def test_turns_of_other_aliases_are_others(known: Registry) -> None:
    """Nobody waits for them."""
    with turn(known, "bfs", "champion"), turn(known, "bfs", "candidate", Clock().times) as mine:
        assert mine.number == 1
