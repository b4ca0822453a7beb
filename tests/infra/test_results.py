"""Tables of results in documents: rewritten between their marks, and nowhere else."""

import subprocess
import sys
from pathlib import Path

from bfs_model import integrity

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
