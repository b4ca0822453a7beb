"""The trial of a candidate by services: started here, watched there, and settled here again.

The alias `candidate` names the version, a tag of it the rules. A service that follows `models:/NAME@ALIAS` draws a share of its jobs with
it and comes to a verdict. A good one moves ALIAS, if the champion is still the one that it was watched beside: of several services, and
of promotions meanwhile, the first one wins.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bfs_model.errors import BadInput
from bfs_platform.registry.spec import CanarySpec
from bfs_platform.registry.store import Reference, Registry, registry_errors
from bfs_platform.registry.turn import NoTurn, move, turn

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "candidate"
_RULES, _VERDICT = "canary.rules", "canary.verdict"


@dataclass(frozen=True, slots=True)
class Trial:
    """Version `number` of the model is to be tried beside version `champion` of `alias`."""

    name: str
    alias: str
    number: str
    champion: str
    rules: CanarySpec

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"

    @property
    def champion_uri(self) -> str:
        return f"models:/{self.name}/{self.champion}"


def start_trial(registry: Registry, version: "ModelVersion", alias: str, champion: str | None, rules: CanarySpec) -> str | None:
    """Make a version the candidate for `alias`. Returns the candidate so far.

    Raises: `BadInput` where there is no champion to watch it beside, or another candidate is being tried.
    """
    name, number = version.name, str(version.version)
    if champion is None:
        raise BadInput("canary", f"{name}@{alias}", "has no champion to watch a candidate beside", "promote without a canary")
    before = registry.aliased(name, CANDIDATE)
    if before not in (None, number):
        remedy = f"wait for its verdict, or end it: bfs rollback --name {name} --alias {CANDIDATE}"
        raise BadInput("canary", f"{name}@{CANDIDATE}", f"is version {before}, which is being tried", remedy)
    registry.untag(name, number, [key for key in (_VERDICT,) if key in version.tags])
    registry.tag(name, number, {_RULES: json.dumps({"of": alias, **rules.model_dump()})})
    if before is None:
        move(registry, version, CANDIDATE, None, "canary")
    return before


def find_trial(name: str, alias: str, uri: str | None = None) -> Trial | None:
    """What a service that follows `models:/NAME@ALIAS` is to try now. Raises `Unreachable`."""
    registry = Registry.open(uri)
    number, champion = registry.aliased(name, CANDIDATE), registry.aliased(name, alias)
    if number is None or champion is None:
        return None
    rules = json.loads(registry.tags(name, number).get(_RULES, "{}"))
    if rules.pop("of", None) != alias:
        return None
    return Trial(name, alias, number, champion, CanarySpec.model_validate(rules))


def settle(trial: Trial, good: bool, reason: str, uri: str | None = None) -> str:
    """Move the alias to a candidate that was good, and take the candidate's away. May be repeated, and is where it raises `NoTurn`.

    Returns: the verdict as it stands in the registry; a good candidate whose champion is another one by now, or that somebody has taken
    back meanwhile, has lost.
    """
    registry = Registry.open(uri)
    version = registry.find(Reference(trial.name, version=trial.number))
    verdict = f"{'promoted' if good else 'rolled back'}: {reason}"
    if good and registry.aliased(trial.name, trial.alias) != trial.number:
        try:
            with turn(registry, trial.name, CANDIDATE):
                _check_candidate(registry, trial)
                move(registry, version, trial.alias, trial.champion, "promote")
        except NoTurn:
            raise
        except BadInput as error:
            if error.key != "alias":
                raise
            verdict = f"withdrawn: {error}"
    registry.tag(trial.name, trial.number, {_VERDICT: verdict[:5000]})
    end_trial(registry, trial.name, trial.number)
    return verdict


def _check_candidate(registry: Registry, trial: Trial) -> None:
    """Raises `BadInput` where a version is tried no more: another service, or an operator, came first."""
    found = registry.aliased(trial.name, CANDIDATE)
    if found != trial.number:
        rule = f"is {'no version' if found is None else f'version {found}'} by now, not {trial.number}"
        raise BadInput("alias", f"{trial.name}@{CANDIDATE}", rule, "promote the version again, if it is wanted")


def end_trial(registry: Registry, name: str, number: str | None) -> str | None:
    """Take the alias of the candidate away, if it is still this one (None: whichever). Returns whom it was taken from."""
    with turn(registry, name, CANDIDATE):
        found = registry.aliased(name, CANDIDATE)
        if found is None or number not in (None, found):
            return None
        with registry_errors(registry.uri, "model", f"{name}@{CANDIDATE}"):
            registry.client.delete_registered_model_alias(name, CANDIDATE)
        return found
