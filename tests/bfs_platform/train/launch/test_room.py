"""Workers that a cluster has no room for are refused, or waited for with a word."""

from pathlib import Path

import pytest
import training

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.launch.room import check_room
from bfs_platform.train.spec import TrainSpec

ONE, EIGHT = {"CPU": 4.0, "GPU": 1.0}, {"CPU": 64.0, "GPU": 8.0}


def _spec(*changes: str) -> TrainSpec:
    return resolve("tabletop_stage1", ["batch_size=24", "micro_batch_size=1", *changes], TrainSpec)


@pytest.mark.parametrize(
    ("changes", "nodes", "message"),
    [
        (["use_gpu=true", "num_workers=2"], [ONE], r"num_workers=2 is more than this cluster has GPUs \(1\); set num_workers=1\."),
        (["use_gpu=true", "num_workers=12"], [EIGHT, ONE], r"num_workers=12 is more than this cluster has GPUs \(9\)"),
        (["use_gpu=true", "num_workers=1"], [{"CPU": 4.0}], r"has GPUs \(0\); add GPUs, or set use_gpu=false"),
        (["use_gpu=true", "num_workers=8", "min_workers=2"], [ONE], r"min_workers=2 is more .* set min_workers=1"),
        (["use_gpu=false", "num_workers=6"], [ONE], r"num_workers=6 is more than this cluster has CPUs \(4\); set num_workers=4"),
    ],
)
def test_too_many_workers_are_refused(
    changes: list[str], nodes: list[dict[str, float]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the key that asks for them, with what there is; on a cluster that may grow, one line says what is waited for."""
    spec = _spec(*changes)
    with pytest.raises(BadInput, match=message):
        check_room(spec, nodes, grows=False)
    assert not capsys.readouterr().err
    check_room(spec, nodes, grows=True)
    said = capsys.readouterr().err
    assert "waiting for it to grow" in said and len(said.strip().splitlines()) == 1


def test_what_fits_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """As many GPUs as workers, on however many nodes; an elastic run begins with the least that it takes."""
    for grows in (False, True):
        check_room(_spec("use_gpu=true", "num_workers=8"), [EIGHT], grows)
        check_room(_spec("use_gpu=true", "num_workers=2"), [ONE, ONE], grows)
        check_room(_spec("use_gpu=true", "num_workers=8", "min_workers=1"), [ONE], grows)
        check_room(_spec("use_gpu=false", "num_workers=4"), [ONE], grows)
    assert not capsys.readouterr().err


@pytest.mark.ray
def test_a_run_is_refused_before_a_worker_starts(ray_cluster: object, base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """On a machine without a GPU, in a moment; Ray Train would wait for one."""
    spec = resolve("tabletop_stage1", [*training.SHORT, "use_gpu=true", "num_workers=1"], TrainSpec)
    with pytest.raises(BadInput, match=r"num_workers=1 is more than this cluster has GPUs \(0\)"):
        fit(spec, str(base), [datasets[1]], tmp_path / "run")
