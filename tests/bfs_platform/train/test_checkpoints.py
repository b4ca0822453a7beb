"""Checkpoints are whole or do not count."""

import logging
from pathlib import Path

import pytest

from bfs_model.errors import IntegrityError
from bfs_platform.train import checkpoints

FIT = {"identity": {"seed": 7}, "world_size": 2}


def _write(output: Path, step: int, keep: int = 9) -> Path:
    checkpoints.clear(checkpoints.staging_of(output, step))
    (checkpoints.staging_of(output, step) / "rank0.bin").write_bytes(b"state" * step)
    return checkpoints.commit(output, step, FIT, keep).parent


def test_newest_whole_checkpoint_wins_and_old_ones_go(tmp_path: Path) -> None:
    """Of three checkpoints two are kept; the newest is the resume point; leftovers of a killed save do not count."""
    for step in (10, 20, 30):
        _write(tmp_path, step, keep=2)
    checkpoints.clear(checkpoints.staging_of(tmp_path, 40))
    assert [p.name for p in checkpoints.committed(tmp_path)] == ["step-00000030", "step-00000020"]
    assert checkpoints.newest(tmp_path, FIT) == checkpoints.path_of(tmp_path, 30)


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
        assert checkpoints.newest(tmp_path, FIT) == checkpoints.path_of(tmp_path, 10)
    assert "rank0.bin" in caplog.text and "Set aside as damaged-step-00000020" in caplog.text
    assert (tmp_path / "checkpoints" / "damaged-step-00000020").is_dir()


def test_a_run_with_other_settings_is_not_continued(tmp_path: Path) -> None:
    """An output that holds a run of another specification is refused, not overwritten."""
    _write(tmp_path, 10)
    with pytest.raises(IntegrityError, match="another identity"):
        checkpoints.newest(tmp_path, FIT | {"identity": {"seed": 8}})
    assert checkpoints.newest(tmp_path / "fresh", FIT) is None
