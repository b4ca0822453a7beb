"""The report folder."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bfs_platform.evaluate.report.report import _file_name, write_report
from bfs_platform.evaluate.report.results import assemble
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import Entry, list_entries
from bfs_platform.evaluate.spec import EvaluationSpec

SPEC = EvaluationSpec(loader="bfs_platform.evaluate.system.fakes:load_fake_disc", report_samples=2, recogniser=None)
MODEL = {"uri": "models:/bfs/7", "kind": "model", "content_hash": "ab" * 32, "base": {"name": "tiny", "content_hash": "cd" * 32}}
HOSTILE = "<script>alert(1)</script>\"'"


class Page(HTMLParser):
    """Collects what a page refers to and the text that it shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data


def run(entries: list[Entry], root: Path, spec: EvaluationSpec = SPEC) -> tuple[dict[str, Any], dict[int, dict[str, bytes]]]:
    """Evaluate the fake without Ray: the results and the pictures of the first two records."""
    evaluator = Evaluator("fake", root, spec)
    rows, images = zip(*(evaluator.evaluate(entry, position < 2) for position, entry in enumerate(entries)), strict=True)
    return assemble(rows, entries, spec, MODEL), {i: found for i, found in enumerate(images) if found}


@pytest.fixture
def report(make_source, tmp_path) -> Path:
    """The report on three records, the first with a hostile prompt, the last one with a prompt on which the fake fails."""
    root = make_source(3)
    text = (root / "meta.json").read_text()
    text = text.replace('"cube 0"', '"' + HOSTILE.replace('"', '\\"') + '"').replace('"cube 2"', '"fail"')
    (root / "meta.json").write_text(text)
    results, images = run(list_entries(root, ["material"]), root)
    return write_report(results, images, tmp_path / "report")


def test_the_report_stands_alone(report) -> None:
    """Everything that the page refers to lies in its folder, and nothing lies there that it does not show."""
    page = Page(report.read_text(encoding="utf-8"))
    assert page.references and all((report.parent / name).is_file() for name in page.references)
    assert set(page.references) == {path.relative_to(report.parent).as_posix() for path in report.parent.glob("images/*")}
    assert not re.search(r"https?:|//cdn|@import|url\(", report.read_text(encoding="utf-8"))


def test_what_a_model_says_of_its_layers_is_passed_on(make_source, tmp_path) -> None:
    """Once per warning, with how many records and the first: in metrics.json and on the page."""
    root = make_source(2)
    text = (root / "meta.json").read_text()
    long = " ".join(["a red cube"] * 30)
    text = text.replace('"cube 0"', '"a red cube"').replace('"cube 1"', f'"{long}"').replace("[6, 8, 14, 16]", "[24, 32, 56, 64]")
    (root / "meta.json").write_text(text)
    for picture in root.rglob("*.png"):  # large enough for the model to draw in: of an empty layer it says something as well
        Image.open(picture).resize((96, 96), Image.Resampling.NEAREST).save(picture)
    spec = SPEC.model_copy(update={"loader": "bfs_platform.evaluate.system.models:load_pipeline", "steps": 1})
    entries = list_entries(root, [])
    evaluator = Evaluator("tiny", root, spec)
    rows = [evaluator.evaluate(entry, shown=True) for entry in entries]
    results = assemble([row for row, _ in rows], entries, spec, MODEL)
    found = next(found for found in results["warnings"] if "tokens of a prompt" in found["warning"])
    assert (found["system"], found["num_records"], found["first"]) == ("model", 1, entries[1].row.id)
    assert found["warning"] in results["samples"][1]["warnings"]["model"] and results["samples"][0].get("warnings", {}) == {}
    page = write_report(results, {i: images for i, (_, images) in enumerate(rows)}, tmp_path / "report")
    assert found["warning"] in " ".join(Page(page.read_text(encoding="utf-8")).text.split())


def test_texts_are_only_texts(report) -> None:
    """A prompt that holds markup is shown, not run: there is one script, ours, and a policy that forbids all from elsewhere."""
    page = Page(report.read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert HOSTILE in page.text
    assert "default-src 'none'" in report.read_text(encoding="utf-8")


def test_the_report_says_what_was_measured(report) -> None:
    """Model, list, seed, systems, groups, failures and the figures of each record are on the page."""
    text = " ".join(Page(report.read_text(encoding="utf-8")).text.split())
    for words in ("models:/bfs/7 (abababababab)", "tiny (cdcdcdcdcdcd)", "3 records (", "the model's own"):
        assert words in text, words
    assert "2 of 3 records evaluated, 1 failed" in text
    assert "By material" in text and "glass" in text and "metal" in text
    assert "the fake was asked to fail" in text
    assert "α > 0.05" in text and "torch 2." in text
    assert text.count("box 6,8,14,16") == 2 and text.count("noise seed") == 2
    assert "model, identity, truth" in text and '"report_samples": 2' in text, "all systems, and the whole specification"


def test_glass_stands_apart(report) -> None:
    """One sentence of figures sets it beside the other materials, and a table gives it for every system."""
    text = " ".join(Page(report.read_text(encoding="utf-8")).text.split())
    sentence = re.search(r"1 record of glass against 1 of other materials: region MAE ([\d.]+) against ([\d.]+), (\w+) by ([\d.]+)", text)
    assert sentence is not None
    glass, others, verdict, by = sentence.groups()
    assert verdict == ("worse" if float(glass) > float(others) else "better")
    assert abs(abs(float(glass) - float(others)) - float(by)) < 2e-4
    assert "system, glass only" in text


def test_other_systems_are_seen_beside_the_model(make_source, tmp_path) -> None:
    """The composite of each baseline that is no reference, with its error; learned metrics have no table when none was taken."""
    root = make_source(1)
    picture = tmp_path / "other/composite/000.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (24, 24), (9, 9, 9)).save(picture)
    spec = SPEC.model_copy(update={"baselines": ("truth", f"other=precomputed:{picture.parent.parent}")})
    results, images = run(list_entries(root), root, spec)
    text = write_report(results, images, tmp_path / "report").read_text(encoding="utf-8")
    assert "00000-composite_of_other.png" in text and "composite_of_truth" not in text
    assert "the paper" not in text and 'id="glass"' not in text


def test_a_report_without_pictures(make_source, tmp_path) -> None:
    """With nothing to show, the tables are there and the page does not break."""
    root = make_source(1)
    results, _ = run(list_entries(root), root)
    page = write_report(results, {}, tmp_path / "report").read_text(encoding="utf-8")
    assert "composite PSNR" in page and "<figure>" not in page


def test_pictures_of_systems_with_odd_names_are_kept_apart() -> None:
    """Names that a file name cannot hold get a file each; plain ones keep theirs."""
    names = ["模型一", "模型二", "a b", "a_b", "x" * 90 + "1", "x" * 90 + "2", "two_step"]
    files = [_file_name(3, f"composite of {name}") for name in names]
    assert len(set(files)) == len(names) and all(len(file) < 120 and file.isascii() for file in files)
    assert files[-1] == "00003-composite_of_two_step.png" and _file_name(3, "layer") == "00003-layer.png"
