"""Tables of results in documents: rewritten between their marks, and nowhere else."""

import subprocess
import sys
from pathlib import Path

from bfs_model import integrity
from bfs_platform.evaluate.metric.catalogue import EDITING
from bfs_platform.evaluate.report.results import write_results

TABLE = "|  | full | without stage 1 |\n| --- | --- | --- |\n| region MAE ↓ | 0.1 ± 0.0 | 0.2 ± 0.0 |\n"


def _make(repo_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repo_root / "infra/results/make.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_comparison_of_trainings_comes_between_its_marks(repo_root: Path, tmp_path: Path) -> None:
    """Steps, seeds and the table stand there; the rest of the document stays; without marks nothing is written."""
    staging = integrity.staging_for(tmp_path / "parts" / "table")
    (staging / "table.md").write_text(TABLE, encoding="utf-8")
    spec = {"stage1_steps": 30, "stage2_steps": 20, "seeds": [7, 8]}
    integrity.commit(staging, tmp_path / "parts" / "table", "parts", {"spec": spec})
    document = tmp_path / "DOC.md"
    document.write_text("before\n<!-- parts -->\nold\n<!-- /parts -->\nafter\n")
    done = _make(repo_root, "--parts", str(tmp_path / "parts"), "--document", str(document))
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(document), done.stderr
    head = "30 steps of stage 1 and 20 of stage 2, seeds 7, 8; mean ± standard deviation over seeds."
    assert document.read_text(encoding="utf-8") == f"before\n<!-- parts -->\n{head}\n\n{TABLE}<!-- /parts -->\nafter\n"

    document.write_text("no marks\n")
    refused = _make(repo_root, "--parts", str(tmp_path / "parts"), "--document", str(document))
    assert refused.returncode == 2 and "has no parts marks" in refused.stderr and document.read_text() == "no marks\n"


def _evaluation(folder: Path, edited: int) -> Path:
    """An evaluation of two systems, in which `edited` records have edits."""
    means = {name: {"mean": 0.05 if edited else None, "std": 0.01, "n": edited} for name in EDITING}
    results = {
        "model": {"uri": "tiny", "content_hash": "a" * 64},
        "num_samples": 3,
        "list": {"hash": "b" * 64},
        "recipe": {"spec": {"steps": None}},
        "systems": {"model": means, "truth": means},
    }
    staging = integrity.staging_for(folder)
    write_results(results, staging)
    integrity.commit(staging, folder, "evaluation", {})
    return folder


def test_edits_have_a_table_of_their_own(repo_root: Path, tmp_path: Path) -> None:
    """A row for each edit, with how many records have it; scenes without edits are refused, and the document stays."""
    document = tmp_path / "DOC.md"
    document.write_text("<!-- editing -->\nold\n<!-- /editing -->\n")
    refused = _make(repo_root, "--editing", str(_evaluation(tmp_path / "plain", 0)), "--document", str(document))
    assert refused.returncode == 2 and "is of scenes without edits; render them with --edits" in refused.stderr
    assert "old" in document.read_text()
    done = _make(repo_root, "--editing", str(_evaluation(tmp_path / "edited", 2)), "--document", str(document))
    assert done.returncode == 0, done.stderr
    text = document.read_text(encoding="utf-8")
    assert "Model tiny (aaaaaaaaaaaa), 3 records (bbbbbbbbbbbb), its own number of steps" in text and "old" not in text
    assert "| error after | records | model | truth |" in text and text.count("| 2 | 0.0500 ± 0.0100 | 0.0500 ± 0.0100 |") == 4
