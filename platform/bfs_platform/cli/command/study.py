"""`bfs study`: a questionnaire about what systems drew, and the analysis of its answers. `bfs tables`: several evaluations in one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, Command, report

app = typer.Typer(no_args_is_help=True, help="Build a user study from evaluations, and analyse its answers.")


@app.command("build", cls=Command)
def build(
    evaluation: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder of an evaluation with kept pictures; repeat for more.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for questionnaire.html and key.json.")],
    system: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A system that takes part; repeat. All by default.")] = None,
    cases: Annotated[int, typer.Option(min=1, max=99, help="How many records are shown.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Draws records and letters.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write one page for the participants, in which systems are letters, and the key to it, which stays with you.

    The evaluations need `--set kept_records=N`.
    """
    from bfs_platform.study.build import KEY, PAGE, build_study

    key = build_study(evaluation, output, seed, cases, system or ())
    summary = {"page": str(output / PAGE), "key": str(output / KEY), "study": key["study"], "cases": len(key["cases"])}
    summary |= {"systems": list(key["systems"]), "skipped": key["skipped"]}
    skipped = f"; {key['skipped']} kept records lack a layer of one of them" if key["skipped"] else ""
    shown = f"{len(key['cases'])} cases of {', '.join(key['systems'])}{skipped}\n{output / PAGE} goes to the participants"
    report(summary, as_json, f"{shown}\n{output / KEY} stays with you")


@app.command("analyse", cls=Command)
def analyse(
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS", help="Files that the questionnaire saved.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The key.json of the study.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the result there as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print means with 95 % intervals and the participants' agreement. Files that cannot be used are named with the reason."""
    from bfs_model.files import writable, write_whole
    from bfs_platform.study.analyse import analyse_study, as_text

    if output is not None:
        writable(output, key="output")
    result = analyse_study(answers, key)
    if output is not None:
        write_whole(output, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    report(result, as_json, as_text(result))


def tables(
    evaluations: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Outputs of jobs/evaluate.py, all of the same records.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Evaluate it first, unless that is done: tiny, a folder, models:/NAME@ALIAS; repeat for more."),
    ] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", metavar="DIR", help="Records for --model, a folder with source/ mask/ GT/ meta.json.")
    ] = None,
    kept: Annotated[
        Path | None, typer.Option("--evaluations", metavar="DIR", help="Where evaluations of --model lie, and new ones go.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME", help="How --model is evaluated. Default: evaluation.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")] = None,
    frozen: Annotated[Path | None, typer.Option("--list", metavar="FILE", help="A frozen list, as of jobs/evaluate.py.")] = None,
    study: Annotated[Path | None, typer.Option(metavar="FILE", help="A result of `bfs study analyse --output`, for table 2.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the tables there, as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the paper's tables with the rows of several models, and their errors against the truth.

    Each DIR is an evaluation that is there; each --model is evaluated first. Given again, it goes on with the models that lack one.
    """
    from bfs_model.errors import BadInput
    from bfs_model.files import writable, write_whole
    from bfs_platform.evaluate.report import tables as made

    for key, value in (("input", input_), ("evaluations", kept)):
        if model and value is None:
            raise BadInput(key, "none", "is given, and --model needs it", f"add --{key} DIR")
    for key, told in (("input", input_), ("evaluations", kept), ("recipe", recipe), ("set", changes), ("list", frozen)):
        if told and not model:
            raise BadInput(key, told, "says how models are evaluated, and none is named", "add --model, or leave it out")
    if not model and not evaluations:
        raise BadInput("DIR", "none", "is given, and no --model", "name outputs of jobs/evaluate.py, or models with --model")
    if output is not None:
        writable(output, key="output")
    try:
        asked = None if study is None else json.loads(study.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("study", study, f"is not the result of a study ({error})", "give what `bfs study analyse` wrote") from None
    folders = [*(evaluations or [])]
    if folders:
        made.tables(folders)  # before an hour of evaluating for nothing
    if model and input_ is not None and kept is not None:
        folders += _evaluated(model, input_, kept, recipe or "evaluation", changes or [], frozen)
    found = made.tables(folders, asked)
    text = made.markdown(found)
    if output is not None:
        write_whole(output, text.encode())
    report(found, as_json, text)


def _evaluated(models: list[str], records: Path, kept: Path, recipe: str, changes: list[str], frozen: Path | None) -> list[Path]:
    """The evaluations of models, made as far as they are missing."""
    from bfs_platform.config import resolve
    from bfs_platform.entry.tables import evaluated
    from bfs_platform.evaluate.spec import EvaluationSpec

    spec = resolve(recipe, changes, EvaluationSpec)
    return evaluated(models, records.expanduser().resolve(), kept.expanduser().absolute(), spec, frozen)
