"""The command line of `jobs/promote.py`."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_platform.config import resolve
from bfs_platform.jobs import JobParser
from bfs_platform.registry.promote import promote
from bfs_platform.registry.spec import PromotionSpec
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
    parser.add_argument("--run-id", help="training run of a model folder")
    parser.add_argument("--recipe", default="promotion")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--output", type=Path, help="directory of the record (default: below .bfs/promotions)")
    options = parser.parse_args(arguments)
    spec = resolve(options.recipe, options.set, PromotionSpec)
    if options.output is not None:
        integrity.check_free(options.output.absolute(), KIND)
    record = promote(options.candidate, options.alias, spec=spec, evaluation=options.evaluation, run_id=options.run_id)
    manifest = write_record(record, spec, options.output)
    _print_record(record)
    if not record["promoted"]:
        print(f"The record is {manifest}", file=sys.stderr)
        raise SystemExit(1)
    return manifest


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
        print(f"Gate {gate['name']}: {'passed' if gate['passed'] else 'failed'}: {gate['detail']}", file=sys.stderr)
    before = f"version {record['previous']}" if record["previous"] else "nothing"
    if not record["promoted"]:
        print(f"{record['uri']} is not promoted; {record['alias']} stays at {before}.", file=sys.stderr)
    elif record["changed"]:
        print(f"{record['name']}@{record['alias']} is now version {record['version']} (before: {before}).", file=sys.stderr)
    else:
        print(f"{record['name']}@{record['alias']} already is version {record['version']}.", file=sys.stderr)
