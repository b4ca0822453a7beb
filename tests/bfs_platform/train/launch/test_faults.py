"""Faults of a training run: a full disk, a loss that is not finite, exhausted memory, torn notes of Ray. What is said, and what is kept."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, WorkerFailed
from training import difference, weights_of

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train import loop
from bfs_platform.train.launch import faults, launch, worker
from bfs_platform.train.report.reporting import Reporter
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import checkpoints

Configured = Callable[..., dict[str, Any]]

FULL_AT = """
import errno
from bfs_platform.train.state import state
original = state.save_file
def full(tensors, path):
    if {when} and order["rank"] == order["world_size"] - 1:
        path.write_bytes(b"some of it")
        raise OSError(errno.ENOSPC, "No space left on device")
    original(tensors, path)
state.save_file = full
"""
SMALL_FILES_ONLY = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""


def test_without_gpus_none_is_touched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray shows workers that asked for none all of the node's: they are hidden before anything of the run is built."""
    seen: list[str | None] = []

    def build_task(*_: Any) -> Any:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        raise BadInput("task", "none", "is to be built", "stop here")

    monkeypatch.setattr(worker, "build_task", build_task)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    for use_gpu in (True, False):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        spec = resolve("tabletop_stage1", [f"use_gpu={use_gpu}"], TrainSpec)
        with pytest.raises(BadInput, match="stop here"):
            worker.run_worker({"spec": spec.model_dump(mode="json"), "output": str(tmp_path), "base": "tiny", "datasets": {}})
    assert seen == ["0,1", ""]


def test_remedies_for_memory_go_together_with_the_rest() -> None:
    """Nothing is proposed that the same recipe would then refuse."""
    spec = resolve("crisp_backbone", ["micro_batch_size=1", "num_workers=2"], TrainSpec)
    assert str(faults.out_of_memory(spec, 2)).endswith("GiB; use a larger machine.")
    stage1 = resolve("flux_stage1", [], TrainSpec)
    assert "zero.stage=3" in str(faults.out_of_memory(stage1, 8)) or stage1.zero.stage == 3


@pytest.mark.distributed
def test_a_disk_that_is_full_for_a_while(ranks: Ranks, configured: Configured) -> None:
    """The rank whose disk is full tells the others; training goes on, the next checkpoint is written, and no bit differs."""
    undisturbed = weights_of(ranks.run(configured("whole", "tabletop_stage2", "num_workers=2"), 2))
    told = configured("full", "tabletop_stage2", "num_workers=2")
    group = ranks.start(told, 2, FULL_AT.format(when='"step-00000002" in str(path)'))
    assert difference(weights_of(ranks.wait(group)), undisturbed) == 0
    assert "No checkpoint after step 2: the disk is full. Training goes on" in group.log()
    left = sorted(path.name for path in (Path(told["output"]) / "checkpoints").iterdir())
    assert left == ["step-00000004"]


@pytest.mark.distributed
def test_a_disk_that_stays_full(ranks: Ranks, configured: Configured) -> None:
    """Writes that the operating system refuses: the run says that its last checkpoint cannot be kept, and what to do."""
    told = configured("full", "tabletop_stage2", "num_workers=1", "num_steps=2")
    with pytest.raises(WorkerFailed, match=r"BadInput: output=.* cannot hold the last checkpoint .*; free some space and repeat"):
        ranks.run(told, 1, SMALL_FILES_ONLY)
    assert checkpoints.committed(Path(told["output"])) == []
    ranks.run(told)
    assert [path.name for path in checkpoints.committed(Path(told["output"]))] == ["step-00000002"]


@pytest.mark.distributed
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_checkpoint_costs_steps_and_no_bit(damage: str, ranks: Ranks, configured: Configured) -> None:
    """The newest checkpoint of a run is damaged on disk: that is said, the one before is used, and the result is what it was."""
    told = configured("run", "tabletop_stage2", "num_workers=1", "checkpoint.every_steps=1")
    undisturbed = weights_of(ranks.run(told))
    newest, before = checkpoints.committed(Path(told["output"]))
    (state,) = newest.glob("state-*")
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    group = ranks.start(told)
    assert difference(weights_of(ranks.wait(group)), undisturbed) == 0
    assert f"{state.name} is damaged: its sha256 is not the one in the manifest" in group.log()
    assert f"Set aside as damaged-{newest.name}; the checkpoint before it is used" in group.log()
    assert checkpoints.committed(Path(told["output"])) == [newest, before]


NAN_ON_RANK_1 = """
import torch
from bfs_model import objectives
real = objectives.TERMS["comp"]
objectives.TERMS["comp"] = lambda step: real(step) * (float("nan") if {when} else 1.0)
"""


@pytest.mark.distributed
def test_a_loss_that_is_not_finite_stops_all_ranks_before_the_update(ranks: Ranks, configured: Configured) -> None:
    """Every rank stops and names the samples of the rank that saw NaN; the newest checkpoint is from before, and finite."""
    told = configured("nan", "tabletop_stage1", "num_workers=2", "checkpoint.every_steps=1")
    calls = "(counter := globals().setdefault('seen', [])).append(1) or len(counter) > 3 and order['rank'] == 1"
    group = ranks.start(told, 2, NAN_ON_RANK_1.format(when=calls))
    with pytest.raises(WorkerFailed, match=r"NonFinite: The loss of samples 1-\d+, 1-\d+ at step 3 is not finite") as failure:
        ranks.wait(group)
    assert str(failure.value).count("The loss of samples") == 2, "both ranks name the samples"
    newest = checkpoints.committed(Path(told["output"]))[0]
    assert newest.name == "step-00000003"
    tensors = [t for f in newest.glob("*.safetensors") for t in weights_file(f).values()]
    assert tensors and all(torch.isfinite(tensor).all() for tensor in tensors)


def weights_file(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file."""
    from safetensors.torch import load_file

    return load_file(path)


def test_a_gradient_that_is_not_finite_stops_the_run() -> None:
    """A finite loss may have an infinite gradient; no checkpoint is written after it."""
    loop.stop_unless_usable(3.0, 5)
    with pytest.raises(loop.NonFinite, match="The gradient at step 5 is not finite; the newest checkpoint is from before it"):
        loop.stop_unless_usable(float("inf"), 5)


def test_exhausted_memory_is_advice_with_numbers() -> None:
    """An allocation that the machine refuses becomes one line: what was held, of how much, and which settings to change."""
    spec = resolve("flux_stage1", ["num_workers=2", "micro_batch_size=4", "gradient_checkpointing=false"], TrainSpec)
    said = r"micro_batch_size=4 does not fit: \d+\.\d GiB were held of \d+\.\d GiB; try micro_batch_size=2, then"
    with pytest.raises(BadInput, match=said) as got, faults.explained(spec, 2):
        torch.empty(2**60, dtype=torch.uint8)
    for remedy in ("gradient_checkpointing=true", "zero.stage=3", "zero.offload_optimizer=true"):
        assert remedy in got.value.remedy
    with pytest.raises(RuntimeError, match="something else"), faults.explained(spec, 2):
        raise RuntimeError("something else")


def test_torn_notes_of_ray_are_set_aside_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A truncated snapshot would brick the run's name in Ray Train: a run that starts renames it with a warning; a whole one just goes."""
    spec = resolve("tabletop_stage1", [], TrainSpec)
    launch._prepare(tmp_path, spec)
    snapshot = tmp_path / "ray" / "checkpoint_manager_snapshot.json"
    snapshot.parent.mkdir()
    snapshot.write_text('{"checkpoint_results": [{"che')
    with caplog.at_level(logging.WARNING):
        launch._prepare(tmp_path, spec)
    assert not snapshot.exists() and (snapshot.parent / "damaged-checkpoint_manager_snapshot.json").exists()
    assert "Set aside as damaged-checkpoint_manager_snapshot.json" in caplog.text
    snapshot.write_text("{}")
    launch._prepare(tmp_path, spec)
    assert not snapshot.exists()


def test_a_torn_line_of_the_loss_file_goes(tmp_path: Path) -> None:
    """A process that dies in mid-line leaves half a one; steps that will run again go, the rest stays."""
    path = tmp_path / "losses.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n{"step": 3, "loss": 0.3}\n{"step": 4, "lo')
    worker.trim_losses(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n'
    path.write_text('{"step": 1, "loss": 0.5}\n{"st')
    worker.trim_losses(path, 9)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n'


def test_a_loss_that_cannot_be_written_down_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The loss file and the pictures are for people: when they cannot be written, that is said and the run goes on."""
    (tmp_path / "losses.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        Reporter(tmp_path, 10).metrics({"loss": 0.5}, 1, "natural")
    assert "Not written" in caplog.text


def test_what_the_user_can_correct_is_found_among_the_errors_of_the_ranks() -> None:
    """Ray wraps what a rank raises; a full disk or exhausted memory comes back as the one line that it is."""
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    wrapped = UserExceptionWithTraceback(BadInput("output", "/full", "cannot hold it"), "Traceback …")
    found = launch._cause({0: RuntimeError("lost its peer"), 1: wrapped})
    assert isinstance(found, BadInput) and found.key == "output"
    assert launch._cause({0: RuntimeError("lost its peer")}) is None
