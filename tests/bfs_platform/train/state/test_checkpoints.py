"""Checkpoints are whole or do not count."""

import logging
from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import IntegrityError
from bfs_platform.train.state import checkpoints

BODY = {"owner": "ours"}


def _fits(directory: Path, body: dict[str, Any]) -> str:
    return "" if body["owner"] == "ours" else "holds a run of another owner"


def _write(output: Path, step: int, keep: int = 9, body: dict[str, Any] | None = None) -> Path:
    checkpoints.clear(checkpoints.staging_of(output, step))
    (checkpoints.staging_of(output, step) / "rank0.bin").write_bytes(b"state" * step)
    return checkpoints.commit(output, step, body or BODY, keep).parent


def test_newest_whole_checkpoint_wins_and_old_ones_go(tmp_path: Path) -> None:
    """Of three checkpoints two are kept; the newest is the resume point; leftovers of a killed save do not count."""
    for step in (10, 20, 30):
        _write(tmp_path, step, keep=2)
    checkpoints.clear(checkpoints.staging_of(tmp_path, 40))
    assert [p.name for p in checkpoints.committed(tmp_path)] == ["step-00000030", "step-00000020"]
    assert checkpoints.newest(tmp_path, _fits) == checkpoints.path_of(tmp_path, 30)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_set_aside_and_said_so(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """One flipped bit, a truncation or a missing file: the checkpoint before it is used, and the log says why."""
    _write(tmp_path, 10)
    state = _write(tmp_path, 20) / "rank0.bin"
    data = bytearray(state.read_bytes())
    data[3] ^= 1
    if damage == "remove":
        state.unlink()
    else:
        state.write_bytes(data if damage == "flip" else data[:-1])
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest(tmp_path, _fits) == checkpoints.path_of(tmp_path, 10)
    assert "rank0.bin" in caplog.text and "Set aside as damaged-step-00000020" in caplog.text
    assert (tmp_path / "checkpoints" / "damaged-step-00000020").is_dir()


def test_a_checkpoint_of_another_run_is_refused_not_overwritten(tmp_path: Path) -> None:
    """An output that holds another run is one clear error, and stays as it is; an empty one holds no checkpoint."""
    _write(tmp_path, 10, body={"owner": "theirs"})
    with pytest.raises(IntegrityError, match="another owner"):
        checkpoints.newest(tmp_path, _fits)
    assert checkpoints.committed(tmp_path) == [checkpoints.path_of(tmp_path, 10)]
    assert checkpoints.newest(tmp_path / "fresh", _fits) is None


def test_a_death_in_mid_removal_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest goes first, so half a removed checkpoint is no checkpoint, and the next commit sweeps it away."""
    for step in (10, 20):
        _write(tmp_path, step)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            checkpoints._remove(checkpoints.path_of(tmp_path, 10))
    assert (checkpoints.path_of(tmp_path, 10) / "rank0.bin").exists()
    assert checkpoints.committed(tmp_path) == [checkpoints.path_of(tmp_path, 20)]
    _write(tmp_path, 30, keep=2)
    assert not checkpoints.path_of(tmp_path, 10).exists()
