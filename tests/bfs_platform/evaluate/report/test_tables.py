"""Several evaluations in one report, beside what the paper prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.cli.main import app
from bfs_platform.evaluate.report.results import KIND, METRICS_FILE
from bfs_platform.evaluate.report.tables import markdown, tables


def written(
    folder: Path, uri: str, figures: dict[str, float], list_hash: str = "1" * 64, spec: dict[str, Any] | None = None, **kid: float
) -> Path:
    """An evaluation of one model and the baseline `truth`."""

    def summary(values: dict[str, float]) -> dict[str, Any]:
        return {name: {"mean": value, "std": None, "n": 5} for name, value in values.items()}

    systems = {"model": summary(figures), "truth": summary({"region_mae": 0.001})}
    learned = {"kid": {name: {"mean": value} for name, value in kid.items()}}
    model = {"uri": uri, "content_hash": uri[-1] * 64}
    results = {"model": model, "list": {"hash": list_hash}, "num_samples": 5, "systems": systems, "learned": learned}
    results["recipe"] = {"spec": spec or {}}
    folder.mkdir()
    (folder / METRICS_FILE).write_text(json.dumps(results))
    integrity.write_manifest(folder, KIND, {"model": model})
    return folder


def test_models_stand_side_by_side(tmp_path: Path) -> None:
    """A row for each model and one for the baseline that both have; the paper's own rows below; only what was measured has a table."""
    one = written(tmp_path / "one", "models:/bfs/1", {"region_mae": 0.1, "clip_white": 0.7, "edit_move_mae": 0.05}, model=0.4)
    two = written(tmp_path / "two", "models:/bfs/2", {"region_mae": 0.2})
    found = tables([one, two])
    assert list(found["exact"]["rows"]) == ["models:/bfs/1", "truth", "models:/bfs/2"]
    assert [row[0] for row in found["exact"]["rows"].values()] == [0.1, 0.001, 0.2]
    assert found["editing"]["rows"] == {"models:/bfs/1": [0.05, None, None, None]}
    text = markdown(found)
    assert "| models:/bfs/1 | 0.700 | – | – | – | 0.40 | – | – |" in text and "| BFS, as printed | 0.721 |" in text
    assert "table 2" not in text and "paper's tables" not in markdown(tables([two]))


def test_two_of_one_name_are_told_apart_and_other_records_refused(tmp_path: Path) -> None:
    """By their content hash; figures of other lists do not stand in one table."""
    one, two = (written(tmp_path / name, "model", {"region_mae": 0.1}) for name in ("one", "two"))
    assert list(tables([one, two])["exact"]["rows"]) == ["model@llllllll", "truth"]
    other = written(tmp_path / "other", "models:/bfs/3", {"region_mae": 0.1}, "2" * 64)
    with pytest.raises(BadInput, match="evaluates other records than"):
        tables([one, other])


def test_ways_of_measuring_are_told_apart(tmp_path: Path) -> None:
    """One model at other steps is another row; other tasks stand in no table, nor do two that nothing tells apart."""
    ways: dict[str, dict[str, Any]] = {"few": {"steps": 8}, "many": {"steps": 28}, "out": {"steps": 8, "task": "extraction"}}
    few, many, out = (
        written(tmp_path / name, "tiny", {"region_mae": 0.1 + number / 10}, spec={"task": "insertion"} | way)
        for number, (name, way) in enumerate(ways.items())
    )
    rows = tables([few, many])["exact"]["rows"]
    assert {name: row[0] for name, row in rows.items()} == {"tiny@yyyyyyyy, 8 steps": 0.1, "truth": 0.001, "tiny@yyyyyyyy, 28 steps": 0.2}
    with pytest.raises(BadInput, match="was measured with task=extraction, .*few with insertion"):
        tables([few, out])
    kids: dict[str, dict[str, Any]] = {"clip": {"kid": "clip", "clip": "/a/large"}, "dino": {"kid": "dino"}, "none": {"clip": "/b/large"}}
    by_clip, by_dino, by_none = (
        written(tmp_path / name, f"models:/bfs/{name}", {"region_mae": 0.1}, spec={"task": "insertion", "learned": learned})
        for name, learned in kids.items()
    )
    assert len(tables([by_clip, by_none])["exact"]["rows"]) == 3, "the same weights elsewhere, and a metric that was left out"
    with pytest.raises(BadInput, match=r"was measured with learned\.kid=dino, .*clip with clip"):
        tables([by_clip, by_dino])
    again = written(tmp_path / "again", "tiny", {"region_mae": 0.5}, spec={"task": "insertion", "steps": 8})
    with pytest.raises(BadInput, match="is there twice with other figures"):
        tables([few, again])


def test_the_command_writes_them(tmp_path: Path) -> None:
    """`bfs tables` with a study: table 2 has a row per question; a study that is none is one line."""
    one = written(tmp_path / "one", "models:/bfs/1", {"region_mae": 0.1})
    study = tmp_path / "study.json"
    study.write_text(json.dumps({"systems": {"model": {"placement": {"mean": 4.25}, "average": {"mean": 4.0}}}}))
    done = CliRunner().invoke(app, ["tables", str(one), "--study", str(study), "--output", str(tmp_path / "tables.md"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["study"] == {"model": {"placement": 4.25, "average": 4.0}}
    assert "| placement | 4.25 |" in (tmp_path / "tables.md").read_text()
    for wrong in ("no", '{"systems": ["a", "b"]}', '{"systems": {"a": "model"}}', "[]"):
        study.write_text(wrong)
        refused = CliRunner().invoke(app, ["tables", str(one), "--study", str(study)])
        assert refused.exit_code == 2 and len(refused.stderr.strip().splitlines()) == 1, wrong


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "DIR=none is given, and no --model"),
        (["--model", "tiny"], "input=none is given, and --model needs it; add --input DIR"),
        (["--model", "tiny", "--input", "records"], "evaluations=none is given, and --model needs it; add --evaluations DIR"),
        (["out", "--input", "records"], "input=records says how models are evaluated, and none is named; add --model, or leave it out"),
        (["out", "--set", "steps=4"], "says how models are evaluated, and none is named"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(arguments: list[str], line: str) -> None:
    """What evaluating needs, and what it is told without a model to evaluate: exit code 2, and nothing is begun."""
    refused = CliRunner().invoke(app, ["tables", *arguments])
    assert refused.exit_code == 2 and line in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
