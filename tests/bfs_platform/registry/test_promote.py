"""Promotion: gates, the alias last, one line of history, the way back."""

import threading
from pathlib import Path

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.config import get
from bfs_platform.registry import promote as promote_module
from bfs_platform.registry.gates import GateFailed
from bfs_platform.registry.promote import promote, rollback
from bfs_platform.registry.records import history
from bfs_platform.registry.register import register
from bfs_platform.registry.spec import Bound, PromotionSpec
from bfs_platform.registry.store import Registry
from bfs_platform.tracking.uri import connect


def champion(name: str = "bfs") -> str | None:
    """The version that carries the alias."""
    found = connect().get_registered_model(name).aliases.get("champion")
    return None if found is None else str(found)


def tags(version: str) -> dict[str, str]:
    """Tags of a version."""
    return dict(connect().get_model_version("bfs", version).tags)


def measured(version: str, list_hash: str = "L", protocol: str = "P", **metrics: float) -> None:
    """Attach an evaluation to a version."""
    facts = {f"eval.{name}": repr(value) for name, value in metrics.items()} | {"eval.list_hash": list_hash, "eval.protocol": protocol}
    Registry.open().tag("bfs", version, facts)


def moves() -> list[tuple[str, str | None, str]]:
    """History as (action, from, to)."""
    return [(move["action"], move["previous"], move["version"]) for move in history()]


def test_a_good_candidate_becomes_champion(store_uri, make_model, passing_smoke) -> None:
    """All gates pass, their results stand in the registry, the alias moves, the record says so."""
    version = register(make_model())
    record = promote(f"models:/bfs/{version}", smoke=passing_smoke)
    assert record["promoted"] and record["changed"] and record["previous"] is None
    assert (record["uri"], record["alias"]) == (f"models:/bfs/{version}", "champion")
    assert [(gate["name"], gate["passed"]) for gate in record["gates"]] == [("integrity", True), ("smoke", True), ("metrics", True)]
    assert champion() == version
    assert tags(version)["gate"] == "passed" and tags(version)["gate.smoke"].startswith("passed: fake")
    assert moves() == [("promote", None, version)]


def test_a_folder_is_registered_first(store_uri, make_model, passing_smoke) -> None:
    """A model folder can be promoted in one step."""
    record = promote(str(make_model()), smoke=passing_smoke)
    assert record["promoted"] and champion() == record["version"]


def test_promoting_the_champion_changes_nothing(store_uri, make_model, passing_smoke) -> None:
    """The same promotion twice gives one move, and the gates are not run again."""
    first = promote(str(make_model()), smoke=passing_smoke)

    def must_not_run(folder: Path, spec: object) -> str:
        raise AssertionError("the gates of the champion were run again")

    second = promote(str(make_model(folder="again")), smoke=must_not_run)
    assert second["promoted"] and not second["changed"]
    assert {gate["name"]: gate for gate in second["gates"]} == {gate["name"]: gate for gate in first["gates"]}
    assert len(moves()) == 1


def test_a_tampered_folder_is_not_promoted(store_uri, make_model, passing_smoke, tampering) -> None:
    """It does not even get a version."""
    model = make_model()
    tampering.apply(model)
    with pytest.raises(IntegrityError):
        promote(str(model), smoke=passing_smoke)
    assert connect().search_registered_models() == []


def test_a_version_tampered_with_in_the_store_fails_its_gate(store_uri, make_model, passing_smoke) -> None:
    """The champion stays; the reason stands in the registry; the model is never loaded."""
    good = promote(str(make_model(1.0, "good")), smoke=passing_smoke)["version"]
    bad = register(make_model(2.0, "bad"))
    weights = Path(connect().get_model_version("bfs", bad).source.removeprefix("file://")) / "rgba_vae" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    loaded = []
    record = promote(f"models:/bfs/{bad}", smoke=lambda folder, spec: str(loaded.append(folder)))
    assert not record["promoted"] and not record["changed"] and loaded == []
    assert champion() == good
    assert tags(bad)["gate"] == "failed" and "sha256" in tags(bad)["gate.integrity"]
    assert moves() == [("promote", None, good)]


def test_a_failed_smoke_sample_keeps_the_champion(store_uri, make_model) -> None:
    """A model that draws nothing is not promoted."""

    def nothing(folder: Path, spec: object) -> str:
        raise GateFailed("alpha is 0 everywhere")

    record = promote(str(make_model()), smoke=nothing)
    assert not record["promoted"] and champion() is None
    assert tags(record["version"])["gate.smoke"] == "failed: alpha is 0 everywhere"


def test_verdicts_are_of_the_gates_that_ran_last(store_uri, make_model, passing_smoke) -> None:
    """One that failed an earlier time, and was not asked this time, does not stand beside "passed"."""
    version = register(make_model())
    Registry.open(store_uri).tag("bfs", version, {"gate.contest": "failed: worse", "gate": "failed"})
    assert promote(f"models:/bfs/{version}", smoke=passing_smoke)["promoted"]
    again = promote(f"models:/bfs/{version}", smoke=passing_smoke)
    assert "gate.contest" not in tags(version) and all(gate["passed"] for gate in again["gates"])


def test_thresholds(store_uri, make_model, passing_smoke) -> None:
    """Each bound is checked, a missing figure fails, and the reasons carry numbers."""
    spec = PromotionSpec(thresholds={"alpha_iou": Bound(min=0.5), "region_mae": Bound(max=0.1), "effect_recall": Bound(min=0.2, max=1)})
    version = register(make_model())
    measured(version, alpha_iou=0.4, region_mae=0.1)
    detail = promote(f"models:/bfs/{version}", spec=spec, smoke=passing_smoke)["gates"][-1]["detail"]
    assert detail == "alpha_iou 0.4 is not at least 0.5; effect_recall was not measured"
    measured(version, alpha_iou=0.5, effect_recall=0.2)
    assert promote(f"models:/bfs/{version}", spec=spec, smoke=passing_smoke)["promoted"]


@pytest.mark.parametrize(
    ("measured_on", "alpha_iou", "region_mae", "promoted"),
    [
        (("L", "P"), 0.79, 0.02, True),  # within what it may lose
        (("L", "P"), 0.70, 0.02, False),  # IoU fell too far
        (("L", "P"), 0.90, 0.05, False),  # the error grew too far
        (("other", "P"), 0.10, 0.50, True),  # measured on other records: not comparable
        (("L", "other"), 0.10, 0.50, True),  # measured in another way
    ],
)
def test_against_the_champion(store_uri, make_model, passing_smoke, measured_on, alpha_iou, region_mae, promoted) -> None:
    """A candidate may not lose more than allowed against the champion, in the direction that is worse for each metric."""
    spec = PromotionSpec(may_lose={"alpha_iou": 0.02, "region_mae": 0.01})
    first = register(make_model(1.0, "a"))
    measured(first, alpha_iou=0.8, region_mae=0.02)
    assert promote(f"models:/bfs/{first}", spec=spec, smoke=passing_smoke)["promoted"]
    second = register(make_model(2.0, "b"))
    measured(second, *measured_on, alpha_iou=alpha_iou, region_mae=region_mae)
    assert promote(f"models:/bfs/{second}", spec=spec, smoke=passing_smoke)["promoted"] is promoted
    assert champion() == (second if promoted else first)


def test_a_required_evaluation(store_uri, make_model, passing_smoke) -> None:
    """The strict recipe refuses what nobody evaluated; the plain one does not."""
    model = str(make_model())
    strict, plain = get("promotion_strict"), get("promotion")
    assert isinstance(strict, PromotionSpec) and isinstance(plain, PromotionSpec)
    record = promote(model, spec=strict, smoke=passing_smoke)
    assert not record["promoted"] and record["gates"][-1]["detail"] == "no evaluation is attached to the candidate"
    assert promote(model, spec=plain, smoke=passing_smoke)["promoted"]


@pytest.mark.parametrize(
    "values",
    [{"thresholds": {"alfa_iou": {"min": 0.5}}}, {"may_lose": {"alpha_iou": -0.1}}, {"thresholds": {"alpha_iou": {}}}],
)
def test_nonsense_gates_are_refused(values) -> None:
    """A misspelt metric, a negative allowance or an empty bound is an error, not a gate that always passes."""
    with pytest.raises(ValueError, match="unknown metric alfa_iou|negative allowance|bounds nothing"):
        PromotionSpec.model_validate(values)


def test_rollback_goes_back_past_a_version_that_was_champion_twice(store_uri, make_model, passing_smoke) -> None:
    """To what was champion before it the last time."""
    one, two, three = (promote(str(make_model(float(i), f"m{i}")), smoke=passing_smoke)["version"] for i in range(3))
    promote(f"models:/bfs/{two}", smoke=passing_smoke)
    promote(str(make_model(9.0, "m9")), smoke=passing_smoke)
    assert [rollback()["version"] for _ in range(4)] == [two, three, two, one]


def test_rollback_goes_back_step_by_step(store_uri, make_model, passing_smoke) -> None:
    """Three champions, two steps back, forward again: each step undoes one promotion, and history keeps them all."""
    one, two, three = (promote(str(make_model(float(i), f"m{i}")), smoke=passing_smoke)["version"] for i in range(3))
    assert rollback()["version"] == two and champion() == two
    record = rollback()
    assert record["version"] == one and record["previous"] == two and champion() == one
    with pytest.raises(BadInput, match="no earlier version"):
        rollback()
    promote(f"models:/bfs/{three}", smoke=passing_smoke)
    assert rollback()["version"] == one
    assert moves() == [
        ("promote", None, one),
        ("promote", one, two),
        ("promote", two, three),
        ("rollback", three, two),
        ("rollback", two, one),
        ("promote", one, three),
        ("rollback", three, one),
    ]


def test_rollback_to_a_named_version(store_uri, make_model, passing_smoke) -> None:
    """Going to a version by number is a rollback as well; doing it twice changes nothing."""
    one, _, _ = (promote(str(make_model(float(i), f"m{i}")), smoke=passing_smoke)["version"] for i in range(3))
    assert rollback(to=one)["changed"] and not rollback(to=one)["changed"]
    assert champion() == one and len(moves()) == 4
    with pytest.raises(BadInput, match="models:/bfs/77"):
        rollback(to="77")


def test_rollback_refuses_a_damaged_version(store_uri, make_model, passing_smoke, tmp_path) -> None:
    """The earlier version is checked before the alias returns to it."""
    one, two = (promote(str(make_model(float(i), f"m{i}")), smoke=passing_smoke)["version"] for i in range(2))
    source = Path(connect().get_model_version("bfs", one).source.removeprefix("file://"))
    (source / "sharing" / "config.json").write_text("[]")
    for cached in (tmp_path / "home" / "cache" / "models").glob("*/sharing/config.json"):
        cached.write_text("[]")
    with pytest.raises(IntegrityError, match="damaged"):
        rollback()
    assert champion() == two


def test_expected_previous(store_uri, make_model, passing_smoke) -> None:
    """Whoever says what the champion should be is told when it is another."""
    one = promote(str(make_model(1.0, "a")), expected_previous=None, smoke=passing_smoke)["version"]
    with pytest.raises(BadInput, match="is at version 1, not at none as expected"):
        promote(str(make_model(2.0, "b")), expected_previous=None, smoke=passing_smoke)
    assert promote(str(make_model(2.0, "b")), expected_previous=one, smoke=passing_smoke)["changed"]


def test_two_promoters_on_one_machine_take_turns(store_uri, make_model, passing_smoke) -> None:
    """Both succeed, one after the other, and the history is one line."""
    versions = [register(make_model(float(i), f"m{i}")) for i in range(4)]
    errors: list[BaseException] = []

    def run(version: str) -> None:
        try:
            promote(f"models:/bfs/{version}", smoke=passing_smoke)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    line = moves()
    assert {move[2] for move in line} == set(versions) and len(line) == 4
    assert [move[1] for move in line] == [None, *(move[2] for move in line[:-1])]
    assert champion() == line[-1][2]


def test_a_promoter_elsewhere_is_noticed(store_uri, make_model, passing_smoke) -> None:
    """Another machine moves the alias while our gates run: we refuse and leave its champion alone."""
    mine, theirs = register(make_model(1.0, "a")), register(make_model(2.0, "b"))

    def slow_smoke(folder: Path, spec: object) -> str:
        connect().set_registered_model_alias("bfs", "champion", theirs)
        return "fake"

    with pytest.raises(BadInput, match="somebody else moved it"):
        promote(f"models:/bfs/{mine}", smoke=slow_smoke)
    assert champion() == theirs


def test_killed_before_the_alias_moved(store_uri, make_model, passing_smoke, monkeypatch) -> None:
    """A promotion that dies between its note in the history and the alias did not happen, and can simply be repeated."""
    one = promote(str(make_model(1.0, "a")), smoke=passing_smoke)["version"]
    two = register(make_model(2.0, "b"))

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(promote_module.Registry, "set_alias", die)
        with pytest.raises(Killed):
            promote(f"models:/bfs/{two}", smoke=passing_smoke)
    assert champion() == one and moves() == [("promote", None, one)]
    assert promote(f"models:/bfs/{two}", smoke=passing_smoke)["changed"]
    assert moves() == [("promote", None, one), ("promote", one, two)]
    assert rollback()["version"] == one


def test_an_alias_moved_by_hand_can_be_rolled_back_to(store_uri, make_model, passing_smoke) -> None:
    """What somebody set in MLflow's page counts as a champion, too."""
    promote(str(make_model(1.0, "a")), smoke=passing_smoke)
    by_hand = register(make_model(2.0, "b"))
    connect().set_registered_model_alias("bfs", "champion", by_hand)
    promote(str(make_model(3.0, "c")), smoke=passing_smoke)
    assert rollback()["version"] == by_hand


def test_the_previous_version_is_in_the_record(store_uri, make_model, passing_smoke) -> None:
    """The record is enough to undo a promotion by hand."""
    one, two = (promote(str(make_model(float(i), f"m{i}")), smoke=passing_smoke) for i in range(2))
    assert (one["previous"], two["previous"]) == (None, one["version"])
    assert two["content_hash"] == integrity.read_manifest(Path(make_model(1.0, "again")))["content_hash"]
