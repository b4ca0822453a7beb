"""The command line of `jobs/promote.py`."""

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.console.screen import say
from bfs_platform.entry.evaluate import main as evaluate
from bfs_platform.jobs import JobParser
from bfs_platform.registry.promote import promote
from bfs_platform.registry.spec import PromotionSpec
from bfs_platform.registry.store import Reference, Registry, is_reference
from bfs_platform.tracking.uri import bfs_home

KIND = "promotion"


def main(arguments: Sequence[str] | None = None) -> Path:
    """Promote as the arguments say and write the record. Returns the path of its manifest.

    A candidate that fails a gate is a result, too: the record is written, the reasons are printed, the exit code is 1.
    """
    parser = JobParser(prog="promote.py", description="Pass a model version through the gates and point an alias to it.")
    parser.add_argument("--candidate", required=True, help="models:/NAME/VERSION, models:/NAME@ALIAS, or a model folder")
    parser.add_argument("--alias", help="default: the recipe's")
    parser.add_argument("--evaluation", type=Path, help="folder of an evaluation of the candidate, for the metrics gate")
    parser.add_argument(
        "--input", type=Path, help="records that candidate and champion are both evaluated on first: they are compared in pairs"
    )
    parser.add_argument("--list", help="of --input: a frozen list, as of evaluate.py")
    parser.add_argument("--evaluation-recipe", default="evaluation", help="how --input is evaluated (default %(default)s)")
    parser.add_argument("--canary", type=float, metavar="SHARE", help="have services try it on this share of their jobs first, like 0.1")
    parser.add_argument("--run-id", help="training run of a model folder")
    parser.add_argument("--recipe", default="promotion")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--output", type=Path, help="directory of the record (default: below .bfs/promotions)")
    options = parser.parse_args(arguments)
    changes = [*options.set, *([] if options.canary is None else [f"canary.share={options.canary}"])]
    spec = resolve(options.recipe, changes, PromotionSpec)
    if options.input is not None and options.evaluation is not None:
        raise BadInput("input", options.input, "is evaluated, and --evaluation is there already", "leave one of them out")
    if options.output is not None:
        integrity.check_free(options.output.absolute(), KIND)
    measured: dict[str, Any] = {"evaluation": options.evaluation}
    if options.input is not None:
        measured = evaluate_both(options.candidate, options.alias or spec.alias, spec.name, _evaluated(options))
    record = promote(options.candidate, options.alias, spec=spec, run_id=options.run_id, **measured)
    manifest = write_record(record, spec, options.output)
    _print_record(record)
    if not record["promoted"]:
        say(f"The record is {manifest}")
        raise SystemExit(1)
    return manifest


def evaluate_both(candidate: str, alias: str, name: str, how: Sequence[str]) -> dict[str, Any]:
    """Evaluate the candidate and the version at `alias` on the same records, one after the other, `how` being arguments of `evaluate.py`.

    Returns: what `promote` is told: where both lie, and which champion it was, so that another one by then is noticed.
    """
    registry = Registry.open()
    if is_reference(candidate):
        name = Reference.parse(candidate).name
    try:
        champion = registry.aliased(name, alias)
    except BadInput:  # the first model of this name
        champion = None
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = bfs_home() / "promotions" / f"evaluations-{moment}-{secrets.token_hex(3)}"  # of two in one second each has its own
    found: dict[str, Any] = {"evaluation": evaluate(["--model", candidate, "--output", str(folder / "candidate"), *how]).parent}
    if champion is not None:
        theirs = ["--model", f"models:/{name}/{champion}", "--output", str(folder / "champion")]
        found |= {"champion_evaluation": evaluate([*theirs, *how]).parent, "expected_previous": champion}
    return found


def _evaluated(options: Any) -> list[str]:
    listed = ["--list", options.list] if options.list else []
    return ["--input", str(options.input), "--recipe", options.evaluation_recipe, *listed]


def write_record(record: dict[str, Any], spec: PromotionSpec, output: Path | None = None) -> Path:
    """Commit a promotion record as a directory with a manifest of kind "promotion". Returns the manifest's path."""
    at_s = time.time()
    if output is None:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
        output = bfs_home() / "promotions" / f"{record['name']}-{record['version']}-{record['alias']}-{moment}"
    with integrity.staged(output.absolute(), KIND) as staging:
        (staging / "record.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return integrity.commit(staging, output.absolute(), KIND, {**record, "recipe": spec.resolved()}, {"at_s": at_s})


def _print_record(record: dict[str, Any]) -> None:
    for gate in record["gates"]:
        say(f"Gate {gate['name']}: {'passed' if gate['passed'] else 'failed'}: {gate['detail']}")
    before = f"version {record['previous']}" if record["previous"] else "nothing"
    if not record["promoted"]:
        say(f"{record['uri']} is not promoted; {record['alias']} stays at {before}.")
    elif record["changed"]:
        say(f"{record['name']}@{record['alias']} is now version {record['version']} (before: {before}).")
    else:
        say(f"{record['name']}@{record['alias']} already is version {record['version']}.")
