"""Move an alias to another version: through gates, in one line of history, the alias last."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_model.errors import BadInput
from bfs_platform.evaluate.report.results import read_results
from bfs_platform.registry.canary import CANDIDATE, end_trial, start_trial
from bfs_platform.registry.contest import contest_gate
from bfs_platform.registry.evaluation import attach_evaluation, comparable, metrics_of
from bfs_platform.registry.folder import check_folder
from bfs_platform.registry.gates import GateFailed, Result, Smoke, metrics_gate, run_gate, smoke_gate
from bfs_platform.registry.records import earlier
from bfs_platform.registry.register import register
from bfs_platform.registry.resolve import fetch
from bfs_platform.registry.spec import PromotionSpec
from bfs_platform.registry.store import CONTENT_HASH, Reference, Registry, is_reference
from bfs_platform.registry.turn import ANY, check_expected, move
from bfs_platform.tracking.uri import bfs_home

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_LOCK_WAIT_S = 900.0


def promote(
    candidate: str,
    alias: str | None = None,
    *,
    spec: PromotionSpec | None = None,
    evaluation: Path | str | None = None,
    champion_evaluation: Path | str | None = None,
    expected_previous: str | None = ANY,
    run_id: str | None = None,
    smoke: Smoke = smoke_gate,
    uri: str | None = None,
) -> dict[str, Any]:
    """Pass a candidate through the gates and, if it passes all of them, point `alias` to it.

    Promoting what already carries the alias changes nothing. Gate results are written as tags of the version. With `spec.canary`, what
    passed becomes the candidate, and services that follow the alias try it and move the alias themselves: see `registry.canary`.

    Args:
        candidate: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, or a model folder, which is registered first.
        alias: default that of `spec`; spec: the gates; evaluation: folder of an evaluation of the candidate.
        champion_evaluation: that of the version at the alias, made in the same way: both are compared record by record.
        expected_previous: refuse if the alias is elsewhere by now (None: if it exists); by default any place will do.
        run_id: training run of a folder; smoke: draws the smoke sample (tests pass a fake).
    Returns: the record: `promoted` (False when a gate failed, reasons in `gates`), `changed`, `name`, `version`, `uri`,
        `alias` (which one moved), `previous`, `content_hash`, `gates`.
    Raises: `BadInput` for an unknown candidate or an alias that moved meanwhile; `IntegrityError` for a damaged folder.
    """
    spec = spec or PromotionSpec()
    alias = alias or spec.alias
    if champion_evaluation is not None and evaluation is None:
        rule = "is compared with an evaluation of the candidate, and none is given"
        raise BadInput("champion_evaluation", champion_evaluation, rule, "give --evaluation as well")
    registry = Registry.open(uri)
    if not is_reference(candidate):
        candidate = f"models:/{spec.name}/{register(candidate, spec.name, run_id, uri=registry.uri)}"
    version = registry.find(Reference.parse(candidate))
    reference = Reference(version.name, version=str(version.version))
    if evaluation is not None:
        attach_evaluation(reference, evaluation, uri=registry.uri)
    with _alone(registry, reference.name, alias):
        version = registry.find(reference)
        previous = registry.aliased(reference.name, alias)
        check_expected(reference.name, alias, previous, expected_previous)
        if previous == reference.version and version.tags.get("gate") == "passed":
            return _record(version, alias, previous, _gates_of(version), promoted=True, changed=False)
        gates = _run_gates(registry, version, previous, spec, smoke)
        if evaluation is not None and champion_evaluation is not None:
            both = Path(evaluation), Path(champion_evaluation)
            gates.append(run_gate("contest", lambda: _contest(registry, version, previous, spec, *both)))
        passed = all(gate.passed for gate in gates)
        verdicts = {f"gate.{gate.name}": gate.tag for gate in gates} | {"gate": "passed" if passed else "failed"}
        stale = [key for key in version.tags if key.startswith("gate.") and key not in verdicts]  # of gates that did not run this time
        registry.untag(reference.name, str(version.version), stale)
        registry.tag(reference.name, str(version.version), verdicts)
        if passed and spec.canary is not None and previous != reference.version:
            previous, alias = start_trial(registry, version, alias, previous, spec.canary), CANDIDATE
            return _record(version, alias, previous, gates, promoted=True, changed=previous != reference.version)
        changed = passed and previous != reference.version
        if changed:
            move(registry, version, alias, previous, "promote")
        return _record(version, alias, previous, gates, promoted=passed, changed=changed)


def rollback(
    name: str = "bfs", alias: str = "champion", to: str | None = None, *, expected_previous: str | None = ANY, uri: str | None = None
) -> dict[str, Any]:
    """Point `alias` back to the version before, or to version `to`. Its files are checked first; other gates are not run again.
    The candidate's alias has no version before: it is taken away, and with it the trial ends.

    Returns: a record as `promote` does. Raises: `BadInput` when there is nothing to go back to, `IntegrityError` when the
    earlier version is damaged.
    """
    registry = Registry.open(uri)
    with _alone(registry, name, alias):
        current = registry.aliased(name, alias)
        check_expected(name, alias, current, expected_previous)
        if alias == CANDIDATE and to is None and current is not None:
            end_trial(registry, name, current)
            ended = registry.find(Reference(name, version=current))
            return _record(ended, alias, current, [], promoted=True, changed=True)
        version = registry.find(Reference(name, version=to or earlier(registry, name, alias)))
        gates = [Result("integrity", True, _integrity(registry, version))]
        changed = str(version.version) != current
        if changed:
            move(registry, version, alias, current, "rollback")
        return _record(version, alias, current, gates, promoted=True, changed=changed)


def _run_gates(registry: Registry, version: "ModelVersion", previous: str | None, spec: PromotionSpec, smoke: Smoke) -> list[Result]:
    """Integrity first: a model that is not whole is not loaded."""
    gates = [run_gate("integrity", lambda: _integrity(registry, version))]
    if gates[0].passed:
        gates.append(run_gate("smoke", lambda: smoke(fetch(registry, version), spec.smoke)))
    champion = {} if previous in (None, str(version.version)) else registry.tags(version.name, str(previous))
    yardstick = metrics_of(champion) if comparable(version.tags, champion) else {}
    gates.append(run_gate("metrics", lambda: metrics_gate(spec, metrics_of(version.tags), yardstick)))
    return gates


def _contest(
    registry: Registry, version: "ModelVersion", champion: str | None, spec: PromotionSpec, evaluation: Path, champion_evaluation: Path
) -> str:
    """Both evaluations are of whom they are said to be of, and the candidate loses no more than allowed."""
    ours, theirs = read_results(evaluation), read_results(champion_evaluation)
    if champion is None or theirs["model"].get(CONTENT_HASH) != registry.tags(version.name, champion).get(CONTENT_HASH):
        raise GateFailed(f"{champion_evaluation} is not an evaluation of the champion")
    return contest_gate(spec, ours, theirs)


def _integrity(registry: Registry, version: "ModelVersion") -> str:
    folder = fetch(registry, version)
    files = check_folder(folder)["files"]
    return f"{len(files)} files, {sum(file['bytes'] for file in files)} bytes, all as listed"


@contextmanager
def _alone(registry: Registry, name: str, alias: str) -> Iterator[None]:
    """One promotion of an alias at a time on this machine, gates included; across machines, `turn.move` notices the other one."""
    from filelock import FileLock, Timeout

    key = hashlib.sha256(f"{registry.uri}\n{name}\n{alias}".encode()).hexdigest()[:24]
    folder = bfs_home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"promote-{key}.lock", timeout=_LOCK_WAIT_S):
            yield
    except Timeout:
        raise BadInput("alias", f"{name}@{alias}", "is being moved by another process", "wait for it to end") from None


def _gates_of(version: "ModelVersion") -> list[Result]:
    """The results that an earlier promotion wrote."""
    found = []
    for key, value in sorted(version.tags.items()):
        if key.startswith("gate."):
            verdict, _, detail = value.partition(": ")
            found.append(Result(key.removeprefix("gate."), verdict == "passed", detail))
    return found


def _record(
    version: "ModelVersion", alias: str, previous: str | None, gates: list[Result], promoted: bool, changed: bool
) -> dict[str, Any]:
    return {
        "promoted": promoted,
        "changed": changed,
        "name": version.name,
        "version": str(version.version),
        "uri": f"models:/{version.name}/{version.version}",
        "alias": alias,
        "previous": previous,
        "content_hash": version.tags.get(CONTENT_HASH),
        "gates": [{"name": gate.name, "passed": gate.passed, "detail": gate.detail} for gate in gates],
    }
