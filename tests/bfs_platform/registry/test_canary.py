"""Trials of candidates as the registry knows them: begun after the gates, settled once, the champion moved from where it was alone."""

import pytest

from bfs_model.errors import BadInput
from bfs_platform.registry.canary import CANDIDATE, Trial, find_trial, settle
from bfs_platform.registry.gates import GateFailed
from bfs_platform.registry.promote import promote, rollback
from bfs_platform.registry.records import history
from bfs_platform.registry.spec import CanarySpec, PromotionSpec
from bfs_platform.registry.store import Registry
from bfs_platform.registry.turn import NoTurn

SPEC = PromotionSpec(canary=CanarySpec(share=0.25, min_jobs=7))


def aliased(alias: str) -> str | None:
    return Registry.open().aliased("bfs", alias)


def the_trial() -> Trial:
    """What a service is to try."""
    found = find_trial("bfs", "champion")
    assert found is not None
    return found


@pytest.fixture
def tried(store_uri, make_model, passing_smoke) -> tuple[str, str]:
    """A champion and a candidate."""
    champion = promote(str(make_model(1.0, "a")), smoke=passing_smoke)["version"]
    record = promote(str(make_model(2.0, "b")), spec=SPEC, smoke=passing_smoke)
    assert record["promoted"] and record["changed"] and (record["alias"], record["previous"]) == (CANDIDATE, None)
    return champion, record["version"]


def test_what_passes_its_gates_becomes_the_candidate(tried) -> None:
    """The champion stays; a service finds what it is to try, by which rules, and beside whom."""
    champion, candidate = tried
    assert (aliased("champion"), aliased(CANDIDATE)) == tried
    assert the_trial() == Trial("bfs", "champion", candidate, champion, SPEC.canary)
    assert find_trial("bfs", "staging") is None


def test_a_good_candidate_becomes_champion(tried) -> None:
    """Once, however often that is told; the history says so, and a rollback knows the way."""
    champion, candidate = tried
    trial = the_trial()
    assert settle(trial, True, "50 pictures") == settle(trial, True, "50 pictures") == "promoted: 50 pictures"
    assert (aliased("champion"), aliased(CANDIDATE), find_trial("bfs", "champion")) == (candidate, None, None)
    assert [(move["action"], move["version"]) for move in history()] == [("promote", champion), ("promote", candidate)]
    assert rollback()["version"] == champion


def test_a_slow_registry_is_no_verdict(tried, monkeypatch) -> None:
    """Neither is a turn that others keep: the candidate stays one, and is settled when it is told again."""
    _, candidate = tried

    def slow(*_: object) -> None:
        raise NoTurn("alias", "bfs@champion", "took too long to move: the registry is slow", "try again")

    with monkeypatch.context() as patched:
        patched.setattr("bfs_platform.registry.canary.move", slow)
        with pytest.raises(NoTurn):
            settle(the_trial(), True, "50 pictures")
    assert (aliased("champion"), aliased(CANDIDATE)) == tried
    assert settle(the_trial(), True, "50 pictures") == "promoted: 50 pictures" and aliased("champion") == candidate


def test_a_bad_candidate_is_forgotten(tried) -> None:
    """Its alias goes, its reason stays with it, and it may be tried again."""
    champion, candidate = tried
    assert settle(the_trial(), False, "4 of 9 jobs failed") == "rolled back: 4 of 9 jobs failed"
    assert (aliased("champion"), aliased(CANDIDATE)) == (champion, None)
    assert Registry.open().tags("bfs", candidate)["canary.verdict"] == "rolled back: 4 of 9 jobs failed"
    assert promote(f"models:/bfs/{candidate}", spec=SPEC, smoke=lambda folder, spec: "fake")["alias"] == CANDIDATE
    assert "canary.verdict" not in Registry.open().tags("bfs", candidate)


def test_a_champion_that_moved_meanwhile_stays(tried, make_model, passing_smoke) -> None:
    """The candidate was watched beside another one: it has lost, and is told why."""
    trial = the_trial()
    other = promote(str(make_model(3.0, "c")), smoke=passing_smoke)["version"]
    assert settle(trial, True, "50 pictures").startswith("withdrawn: ")
    assert (aliased("champion"), aliased(CANDIDATE)) == (other, None)


def test_a_candidate_that_was_taken_back_does_not_win(tried) -> None:
    """By an operator while a verdict waited for the registry, or by another service that came first."""
    champion, candidate = tried
    trial = the_trial()
    rollback(alias=CANDIDATE)
    assert settle(trial, True, "50 pictures").startswith("withdrawn: ") and aliased("champion") == champion
    promote(f"models:/bfs/{candidate}", spec=SPEC, smoke=lambda folder, spec: "fake")
    assert settle(the_trial(), False, "4 of 9 jobs failed").startswith("rolled back")
    assert settle(trial, True, "50 pictures").startswith("withdrawn: ") and aliased("champion") == champion


def test_one_candidate_at_a_time(tried, make_model, passing_smoke) -> None:
    """A second one is refused with the way to end the first; `rollback` of the alias is that way."""
    champion, candidate = tried
    with pytest.raises(BadInput, match=f"is version {candidate}, which is being tried"):
        promote(str(make_model(3.0, "c")), spec=SPEC, smoke=passing_smoke)
    assert rollback(alias=CANDIDATE)["version"] == candidate
    assert (aliased("champion"), aliased(CANDIDATE)) == (champion, None)
    assert promote(str(make_model(3.0, "c")), spec=SPEC, smoke=passing_smoke)["alias"] == CANDIDATE


def test_without_a_champion_there_is_nothing_to_watch(store_uri, make_model, passing_smoke) -> None:
    """The first version is promoted at once, or not at all."""
    with pytest.raises(BadInput, match="has no champion to watch a candidate beside"):
        promote(str(make_model()), spec=SPEC, smoke=passing_smoke)


def test_what_fails_a_gate_is_not_tried(store_uri, make_model, passing_smoke) -> None:
    """Nobody is drawn with it."""
    promote(str(make_model(1.0, "a")), smoke=passing_smoke)

    def nothing(folder: object, spec: object) -> str:
        raise GateFailed("alpha is 0 everywhere")

    assert not promote(str(make_model(2.0, "b")), spec=SPEC, smoke=nothing)["promoted"] and aliased(CANDIDATE) is None
