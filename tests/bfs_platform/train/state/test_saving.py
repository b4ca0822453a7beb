"""Checkpoints that are written while training goes on. Ranks are played here, with a state of one tensor."""

import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import checkpoints, state
from bfs_platform.train.state.saving import Saver

SPEC = resolve("tabletop_stage1", ["num_steps=30"], TrainSpec)


@pytest.fixture
def saver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Saver]:
    """`saver(world_size)` of rank 0."""
    monkeypatch.setattr(state, "snapshot", lambda _, done: {"updates": torch.tensor(done)})
    return lambda world_size=1: Saver(None, SPEC, tmp_path, {}, 0, world_size)


def _slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that writes nothing before the event."""
    ready, write = threading.Event(), state.write
    monkeypatch.setattr(state, "write", lambda *given: (ready.wait(30), write(*given)))
    return ready


def test_a_step_does_not_wait_for_the_disk(saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is busy training has its thread back and there is no checkpoint; when the disk is done there is a whole one."""
    ready, saving = _slow(monkeypatch), saver()
    assert saving.start(10) == 0
    assert checkpoints.committed(tmp_path) == []
    ready.set()
    assert saving.wait() == 0
    assert integrity.verify(checkpoints.path_of(tmp_path, 10), "checkpoint")["body"]["step"] == 10
    saving.close()


def test_the_next_checkpoint_waits_for_the_one_before(saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are never written at a time: the second begins when the first is whole, and both are good."""
    ready, saving = _slow(monkeypatch), saver()
    saving.start(10)
    threading.Timer(0.1, ready.set).start()
    assert saving.start(20) == 0
    assert checkpoints.path_of(tmp_path, 10) in checkpoints.committed(tmp_path)
    assert saving.wait() == 0
    assert checkpoints.committed(tmp_path) == [checkpoints.path_of(tmp_path, step) for step in (20, 10)]
    saving.close()


def test_nothing_is_committed_before_all_shares_are_there(saver: Any, tmp_path: Path) -> None:
    """Rank 0 has written its share and waits: only when that of rank 1 has its name, the checkpoint is one."""
    saving = saver(2)
    saving.start(10)
    share = state.share(checkpoints.staging_of(tmp_path, 10), 1, 2)
    time.sleep(0.2)
    assert checkpoints.committed(tmp_path) == []
    state.write({"more": torch.ones(3)}, share)
    assert saving.wait() == 0
    assert (checkpoints.path_of(tmp_path, 10) / share.name).exists()
    saving.close()


def test_a_share_that_never_comes_leaves_no_checkpoint_and_no_thread(saver: Any, tmp_path: Path) -> None:
    """The other rank is dead: closing gives up in time, and what was half there does not count."""
    saving = saver(2)
    saving.start(10)
    saving.close(patience_s=0.1)
    assert checkpoints.committed(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_a_full_disk_is_said_and_counted(saver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """The one that could not be written is reported with the next, which is good; the last of a run must be written."""
    saving, write = saver(), state.write
    monkeypatch.setattr(state, "write", _full)
    saving.start(10)
    with caplog.at_level(logging.WARNING):
        assert saving.wait() == 1
    assert "No checkpoint after step 10: the disk is full" in caplog.text
    assert list((tmp_path / "checkpoints").iterdir()) == []
    saving.start(SPEC.num_steps)
    with pytest.raises(BadInput, match="cannot hold the last checkpoint"):
        saving.wait()
    monkeypatch.setattr(state, "write", write)
    assert saving.start(20) == 0 and saving.wait() == 0
    saving.close()


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_mistake_of_ours_is_no_full_disk(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the thread and has nothing to do with the disk is raised where training sees it."""
    saving = saver()
    monkeypatch.setattr(state, "write", lambda *_: {}["missing"])
    saving.start(10)
    with pytest.raises(KeyError, match="missing"):
        saving.wait()
    saving.close(patience_s=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]
