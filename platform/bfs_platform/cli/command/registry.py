"""`bfs promote` and `bfs rollback`: move an alias of the model registry."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bfs_platform.cli.shell import FAILURE, AsJson, report

Registry = Annotated[str | None, typer.Option(metavar="URI", help="MLflow store; MLFLOW_TRACKING_URI or the local one by default.")]
Expected = Annotated[str | None, typer.Option(metavar="VERSION", help="Refuse if the alias is not at this version by now.")]


def promote(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="models:/NAME/VERSION, models:/NAME@ALIAS, or a model folder.")],
    alias: Annotated[str | None, typer.Option(help="The alias to move; the recipe's by default.")] = None,
    recipe: Annotated[str | None, typer.Option(help="The gates; their defaults when not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")] = None,
    evaluation: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of an evaluation of the candidate.")] = None,
    champion_evaluation: Annotated[Path | None, typer.Option(metavar="DIR", help="The champion's, made alike: paired by record.")] = None,
    canary: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Have services try it on this share of jobs first, like 0.1.")
    ] = None,
    expected_previous: Expected = None,
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Pass a model through the gates and point an alias to it. Exit code 1 when a gate fails; nothing moves then.

    With --canary it becomes the candidate: services draw a share of their jobs with it, and promote it or take it back themselves.
    """
    from bfs_platform.config import apply, resolve
    from bfs_platform.registry.promote import promote as move
    from bfs_platform.registry.spec import PromotionSpec

    changes = [*(overrides or []), *([] if canary is None else [f"canary.share={canary}"])]
    spec = resolve(recipe, changes, PromotionSpec) if recipe else apply(PromotionSpec(), changes)
    expected: dict[str, Any] = {} if expected_previous is None else {"expected_previous": expected_previous}
    record = move(candidate, alias, spec=spec, evaluation=evaluation, champion_evaluation=champion_evaluation, uri=registry, **expected)
    report(record, as_json, _text(record, "promoted"))
    if not record["promoted"]:
        raise typer.Exit(FAILURE)


def rollback(
    name: Annotated[str, typer.Option(help="The registered model.")] = "bfs",
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "champion",
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="Where to go back to; the version before by default.")] = None,
    expected_previous: Expected = None,
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias back to an earlier version, after checking that its files are whole."""
    from bfs_platform.registry.promote import rollback as move

    expected: dict[str, Any] = {} if expected_previous is None else {"expected_previous": expected_previous}
    record = move(name, alias, to, uri=registry, **expected)
    report(record, as_json, _text(record, "rolled back"))


def _text(record: dict[str, Any], done: str) -> str:
    gates = [f"gate {gate['name']:<10} {'passed' if gate['passed'] else 'FAILED'}  {gate['detail']}" for gate in record["gates"]]
    place = f"{record['name']}@{record['alias']}"
    if not record["promoted"]:
        return "\n".join([*gates, f"{place} stays at version {record['previous'] or 'none'}; {record['uri']} was not promoted"])
    came = "no change" if not record["changed"] else f"from version {record['previous'] or 'none'}"
    return "\n".join([*gates, f"{place} {done}: version {record['version']} ({came})"])
