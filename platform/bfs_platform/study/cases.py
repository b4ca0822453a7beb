"""What a study shows: records whose pictures evaluations kept, the same ones for every system."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.record import digest_of, seed_of
from bfs_platform.evaluate.report.full_size import BACKGROUND, COMPOSITE, FOLDER, INPUT, LAYER, folder_of
from bfs_platform.evaluate.report.pictures import REFERENCES
from bfs_platform.evaluate.report.results import KIND, read_results

MODEL = "model"


@dataclass(frozen=True, slots=True)
class Shown:
    """What one system delivered for one record, as PNG files."""

    layer: Path
    background: Path
    composite: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One record: its id, its prompt, and what each system delivered."""

    record: str
    caption: str
    systems: Mapping[str, Shown]


@dataclass(frozen=True, slots=True)
class Cases:
    """All cases of a study; `systems` says what each name stands for, `skipped` how many kept records lacked a system."""

    cases: Sequence[Case]
    systems: Mapping[str, dict[str, str]]
    skipped: int


@dataclass(frozen=True, slots=True)
class _Evaluation:
    directory: Path
    results: dict[str, Any]
    content_hash: str
    kept: dict[str, int]  # digest of a record in the frozen list -> its position


def gather(directories: Sequence[Path], wanted: Sequence[str], num_cases: int, seed: int) -> Cases:
    """Find records that every system drew a layer for, and draw `num_cases` of them by `seed`.

    Of the first evaluation all systems with layers take part but identity and truth, of further ones the model; `wanted`
    names others.
    A name is `NAME`, or `FOLDER/NAME` where several evaluations hold it.
    Raises: `BadInput` when an evaluation is damaged or kept nothing, or nothing is left to show.
    """
    if not directories:
        raise BadInput("evaluation", "", "is missing", "name at least one evaluation")
    evaluations = [_read(directory) for directory in directories]
    if len({e.directory.name for e in evaluations}) < len(evaluations):
        raise BadInput("evaluation", ", ".join(map(str, directories)), "have folders of the same name", "rename one")
    for setting in ("task", "short_side"):
        values = [str(e.results["recipe"]["spec"].get(setting)) for e in evaluations]
        if len(set(values)) > 1:
            rule = f"differ in {setting} ({', '.join(values)}), which participants would see"
            raise BadInput("evaluation", ", ".join(map(str, directories)), rule, "evaluate all with the same")
    chosen = _choose(evaluations, wanted)
    shared = [digest for digest in evaluations[0].kept if all(digest in e.kept for e in evaluations)]
    found = {digest: {name: _shown(*place, digest) for name, place in chosen.items()} for digest in shared}
    if not wanted:  # systems that draw no layers at all have no place in this study
        chosen = {name: place for name, place in chosen.items() if any(shown[name] for shown in found.values())}
    whole = [digest for digest in shared if chosen and all(found[digest][name] for name in chosen)]
    if not whole:
        rule = f"share no kept record for which all of {', '.join(chosen) or 'the systems'} drew a layer"
        remedy = "leave a system out with --system, or evaluate with --set kept_records=20"
        raise BadInput("evaluation", ", ".join(map(str, directories)), rule, remedy)
    first = evaluations[0]
    drawn = sorted(whole, key=lambda digest: seed_of(seed, "case", digest))[:num_cases]
    samples = first.results["samples"]
    cases = [_case(samples[first.kept[digest]], {name: found[digest][name] for name in chosen}) for digest in drawn]
    systems = {name: _facts(evaluation, system) for name, (evaluation, system) in chosen.items()}
    return Cases(cases, systems, len(shared) - len(whole))


def _read(directory: Path) -> _Evaluation:
    manifest = integrity.verify(directory, KIND)
    results = read_results(directory)
    entries = json.loads((directory / "list.json").read_text(encoding="utf-8"))["entries"]
    kept = {digest_of(entries[int(path.name)]): int(path.name) for path in sorted((directory / FOLDER).glob("[0-9]*"))}
    if not kept:
        raise BadInput("evaluation", directory, "kept no pictures", "evaluate with --set kept_records=20")
    return _Evaluation(directory, results, manifest["content_hash"], kept)


def _choose(evaluations: Sequence[_Evaluation], wanted: Sequence[str]) -> dict[str, tuple[_Evaluation, str]]:
    """Which system of which evaluation goes by which name."""
    holders: dict[str, int] = {}
    for evaluation in evaluations:
        for system in evaluation.results["systems"]:
            holders[system] = holders.get(system, 0) + 1
    known: dict[str, tuple[_Evaluation, str]] = {}
    default = []
    for number, evaluation in enumerate(evaluations):
        for system in evaluation.results["systems"]:
            name = system if holders[system] == 1 else f"{evaluation.directory.name}/{system}"
            known[name] = (evaluation, system)
            if system == MODEL or (number == 0 and system not in REFERENCES):
                default.append(name)
    for name in wanted:
        if name not in known:
            raise BadInput("system", name, "is in none of the evaluations", f"known are {', '.join(known)}")
    return {name: known[name] for name in dict.fromkeys(wanted or default)}


def _shown(evaluation: _Evaluation, system: str, digest: str) -> Shown | None:
    """The files of one system, None unless it drew a layer."""
    folder = evaluation.directory / FOLDER / f"{evaluation.kept[digest]:05d}"
    own = folder / folder_of(list(evaluation.results["systems"]).index(system), system)
    background = own / f"{BACKGROUND}.png"
    shown = Shown(own / f"{LAYER}.png", background if background.is_file() else folder / f"{INPUT}.png", own / f"{COMPOSITE}.png")
    return shown if all(path.is_file() for path in (shown.layer, shown.composite, shown.background)) else None


def _case(sample: Mapping[str, Any], shown: Mapping[str, Shown | None]) -> Case:
    return Case(sample["id"], sample["caption"], {name: found for name, found in shown.items() if found is not None})


def _facts(evaluation: _Evaluation, system: str) -> dict[str, str]:
    model = evaluation.results["model"]
    named = {"model": str(model["uri"]), "model_hash": str(model["content_hash"])} if system == MODEL else {}
    return {"system": system, "evaluation": evaluation.content_hash, **named}
