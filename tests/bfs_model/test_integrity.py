"""What committing a directory may replace."""

from pathlib import Path

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput


def written(final: Path, kind: str, text: str) -> Path:
    """Commit a directory that holds one file."""
    with integrity.staged(final, kind) as staging:
        (staging / "file.txt").write_text(text)
        return integrity.commit(staging, final, kind, {})


def test_only_its_own_kind_is_replaced(tmp_path: Path) -> None:
    """An evaluation does not take the place of a model, and is told so before any work; a second evaluation does."""
    written(tmp_path / "model", "model", "weights")
    with pytest.raises(BadInput, match=r"output=.*model is of kind model, and would be replaced by one of kind evaluation"):
        written(tmp_path / "model", "evaluation", "figures")
    assert (tmp_path / "model" / "file.txt").read_text() == "weights" and integrity.verify(tmp_path / "model", "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half-written is left"
    for text in ("figures", "other figures"):
        written(tmp_path / "evaluation", "evaluation", text)
    assert (tmp_path / "evaluation" / "file.txt").read_text() == "other figures"


def test_a_damaged_result_can_be_made_again(tmp_path: Path) -> None:
    """A manifest that cannot be read says nothing of what it was."""
    written(tmp_path / "result", "dataset", "rows").write_text("{")
    written(tmp_path / "result", "dataset", "rows again")
    assert integrity.verify(tmp_path / "result", "dataset")
