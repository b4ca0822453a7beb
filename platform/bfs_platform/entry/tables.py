"""Evaluations of several models on the same records, made as far as they are missing: what `bfs tables --model` puts into tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.console.screen import say
from bfs_platform.data.record import digest_of
from bfs_platform.entry.evaluate import model_of, records
from bfs_platform.evaluate.report.results import read_results
from bfs_platform.evaluate.run.run import evaluate
from bfs_platform.evaluate.samples import list_hash, select
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.jobs import Failure, connect_ray

_SPREAD = ("actors", "gpus_per_actor", "experiment")  # they change no figure


def evaluated(models: Sequence[str], root: Path, folder: Path, spec: EvaluationSpec, frozen: Path | None = None) -> list[Path]:
    """The evaluations of `models` on the records of `root`, in this order; what is not in `folder` yet is made.

    One is known by what it measures: the contents of its model and of its records, and the recipe. So one that is there is passed over
    whatever its model is called, another recipe or other records get a folder of their own, and nothing is replaced. One that was
    interrupted left nothing and begins anew.
    Raises: `BadInput` for anything that is wrong, before the first evaluation; `Failure` when a model draws not one record.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput("evaluations", folder, "is a file", "choose the path of a directory")
    found = [model_of(name) for name in models]
    entries = records(root, spec, frozen)
    how = [list_hash(entries), spec.model_dump(mode="json", exclude=set(_SPREAD))]
    places: dict[str, Path] = {}
    for number, (model, facts) in enumerate(found, 1):
        mark = digest_of([facts["content_hash"], *how])[:12]
        place = places.setdefault(mark, _place(folder, facts, mark))
        if (place / integrity.MANIFEST).exists():
            say(f"[{number}/{len(found)}] {facts['uri']} is evaluated already: {place}")
        else:
            say(f"[{number}/{len(found)}] {facts['uri']}")
            connect_ray()
            evaluate(model, facts, root, entries, place, spec)
        results = read_results(place)
        if results["num_failed"] == results["num_samples"]:
            first = results["failures"][0]["error"]
            raise Failure(f"{facts['uri']} has drawn no record, of the first because: {first}; mend it and remove {place}")
        if not spec.caption.replace:  # captions that were written for the first model are those of the others
            entries = select(entries, place / "list.json")
    return list(places.values())


def _place(folder: Path, facts: dict[str, Any], mark: str) -> Path:
    """Where the evaluation with this mark lies, or will: its folder is called by its model for people, and found by the mark."""
    shown = str(facts["uri"]).removeprefix("models:/").replace("/", "-")
    return next(iter(sorted(folder.glob(f"*-{mark}"))), folder / f"{shown}-{mark}")
