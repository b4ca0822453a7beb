"""`bfs tables --model`: evaluations that are missing are made, those that are there are not touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfs_model import integrity
from bfs_platform.cli.main import app
from bfs_platform.entry import tables

# Ray Data's own defaults use options that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
FAKE = ["--set", "loader=bfs_platform.evaluate.system.fakes:load_fake_disc", "--set", "actors=1"]
Model = Callable[[str], Path]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Write a model folder of this name that only has to have a manifest: the fake is what draws."""

    def write(name: str) -> Path:
        folder = tmp_path / "models" / name
        (folder / "sharing").mkdir(parents=True)
        (folder / "sharing" / "config.json").write_text(json.dumps({"name": name}))
        integrity.write_manifest(folder, "model", {"base": {"name": "tiny", "content_hash": "0" * 64}})
        return folder

    return write


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which models are evaluated, in order. The one called `broken` is interrupted."""
    names: list[str] = []
    evaluate = tables.evaluate

    def noted(name: str, facts: dict[str, Any], *rest: Any) -> Path:
        names.append(facts["uri"])
        if facts["uri"] == "broken":
            raise KeyboardInterrupt
        return evaluate(name, facts, *rest)

    monkeypatch.setattr(tables, "evaluate", noted)
    return names


def run(*arguments: Any) -> Any:
    """`bfs tables --json` with these arguments."""
    return CliRunner().invoke(app, ["tables", "--json", *map(str, arguments)])


@pytest.mark.ray
def test_only_what_is_missing_is_evaluated(ray_cluster, make_source, model: Model, begun: list[str], tmp_path: Path) -> None:
    """Each model once, whatever it is called; an interrupted command goes on; other records and recipes leave what is there alone."""
    one, two, broken = (model(name) for name in ("one", "two", "broken"))
    kept = tmp_path / "evaluations"
    how = ["--input", make_source(2), "--evaluations", kept, *FAKE]
    assert run("--model", one, "--model", broken, "--model", two, *how).exit_code == 130
    assert begun == ["one", "broken"] and len([*kept.iterdir()]) == 1
    (first,) = kept.iterdir()
    stamp = (first / integrity.MANIFEST).stat().st_mtime_ns

    done = run("--model", one, "--model", two, *how, "--output", tmp_path / "tables.md")
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["exact"]["rows"]) == ["one", "identity", "truth", "two"]
    assert begun == ["one", "broken", "two"] and "| two |" in (tmp_path / "tables.md").read_text(encoding="utf-8")

    one.rename(one.with_name("renamed"))
    again = run("--model", one.with_name("renamed"), "--model", two, "--model", two, *how, "--set", "actors=2")
    assert json.loads(again.stdout) == json.loads(done.stdout) and begun == ["one", "broken", "two"]

    fewer = run("--model", two, *how, "--set", "num_records=1")
    assert json.loads(fewer.stdout)["num_samples"] == 1 and begun[3:] == ["two"]
    assert (first / integrity.MANIFEST).stat().st_mtime_ns == stamp and len([*kept.iterdir()]) == 3


@pytest.mark.ray
def test_a_model_that_draws_nothing_has_no_row(ray_cluster, make_source, model: Model, tmp_path: Path) -> None:
    """It is a failure that names the model and the reason, also when the command is given again."""
    how = ["--input", make_source(1, meta={"caption": "fail"}), "--evaluations", tmp_path / "evaluations", *FAKE]
    one = model("one")
    for _ in range(2):
        failed = run("--model", one, *how)
        assert failed.exit_code == 1
        assert "one has drawn no record, of the first because: ValueError: the fake was asked to fail; mend it and remove" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model", "nowhere"], "model=nowhere is not a folder"),
        (["--input", "nowhere"], "does not exist"),
        (["--recipe", "evaluatoin"], "did you mean evaluation?"),
        (["--set", "sede=1"], "did you mean seed?"),
        (["--list", "nowhere.json"], "is not a frozen evaluation list"),
        (["--evaluations", __file__], "is a file; choose the path of a directory"),
        (["nowhere"], "has no manifest"),
    ],
)
def test_bad_input_is_one_line(make_source, model: Model, begun: list[str], tmp_path: Path, arguments: list[str], line: str) -> None:
    """Exit code 2, and not one model is evaluated, however many come before the one that is wrong."""
    given = ["--model", model("one"), "--input", make_source(1), "--evaluations", tmp_path / "evaluations", *FAKE, *arguments]
    refused = run(*given)
    assert refused.exit_code == 2 and line in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert begun == [] and not (tmp_path / "evaluations").exists()
