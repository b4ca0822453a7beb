"""`bfs recipes` and `bfs show`."""

import json
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, report


def recipes(as_json: AsJson = False) -> None:
    """List the recipes that `--recipe` accepts."""
    from bfs_platform.config.registry import find, names

    found = [find(name) for name in names()]
    rows = [{"name": r.name, "kind": r.kind.__name__, "summary": r.summary} for r in found]
    width = max((len(r.name) for r in found), default=0)
    report({"recipes": rows}, as_json, "\n".join(f"{row['name']:<{width}}  {row['summary']}" for row in rows))


def show(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's name, a resolved specification, or a result's manifest.json.")
    ],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a recipe completely, as JSON that `--recipe` accepts again."""
    from bfs_platform.config import apply, load

    resolved = apply(load(recipe), overrides or []).resolved()
    report(resolved, as_json, json.dumps(resolved, indent=2, ensure_ascii=False))
