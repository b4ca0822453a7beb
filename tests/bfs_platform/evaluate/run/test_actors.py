"""How many models draw at once: as many as a cluster holds, told from what its nodes say."""

from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.evaluate.run.actors import num_actors
from bfs_platform.evaluate.spec import EvaluationSpec


def counted(nodes: list[tuple[float, float]], num_records: int = 100, grows: bool = False, **settings: Any) -> int:
    """On nodes of so many CPUs and GPUs."""
    resources = [{"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus} for cpus, gpus in nodes]
    return num_actors(EvaluationSpec(**settings), num_records, resources, grows)


@pytest.mark.parametrize(
    ("nodes", "settings", "actors"),
    [
        ([(4, 0)], {}, 2),
        ([(4, 0)], {"actors": 9}, 4),
        ([(4, 0), (2, 0)], {"actors": None}, 6),
        ([(96, 8)], {"actors": None, "gpus_per_actor": 1}, 8),
        ([(96, 8)], {"actors": 2, "gpus_per_actor": 1}, 2),
        ([(96, 8)], {"actors": 20, "gpus_per_actor": 1}, 8),
        ([(4, 8)], {"actors": None, "gpus_per_actor": 1}, 4),
        ([(32, 0), (8, 1), (8, 1)], {"actors": None, "gpus_per_actor": 1}, 2),
        ([(96, 8)], {"actors": None, "gpus_per_actor": 0.3}, 24),
        ([(96, 8)], {"actors": None, "gpus_per_actor": 0.6}, 8),
        ([(8, 1), (8, 3)], {"actors": None, "gpus_per_actor": 2}, 1),
    ],
)
def test_what_a_cluster_holds(nodes: list[tuple[float, float]], settings: dict[str, Any], actors: int) -> None:
    """One CPU and its GPUs for each, on one node; a share of a GPU is of one GPU. What the recipe says is the most."""
    assert counted(nodes, **settings) == actors


def test_no_more_than_records() -> None:
    """A model that has nothing to draw is not loaded."""
    assert counted([(96, 8)], num_records=3, actors=None, gpus_per_actor=1) == 3


def test_without_a_gpu_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that stays as it is would wait for ever; one that grows is waited for, with as many as are asked for."""
    with pytest.raises(BadInput, match=r"gpus_per_actor=1 is more than a node of this cluster has \(0 GPUs\); set gpus_per_actor=0"):
        counted([(4, 0)], actors=None, gpus_per_actor=1)
    with pytest.raises(BadInput, match=r"gpus_per_actor=4 is more than a node of this cluster has \(2 GPUs\)"):
        counted([(32, 2), (32, 2)], actors=None, gpus_per_actor=4)
    assert counted([(4, 0)], grows=True, actors=None, gpus_per_actor=1) == 1
    assert "The cluster has GPUs for 0 of 1 models: waiting for it to grow." in capsys.readouterr().err
    for gpus in (0, 1):
        assert counted([(8, gpus)], grows=True, actors=4, gpus_per_actor=1) == 4
    assert counted([(96, 8)], grows=True, actors=None, gpus_per_actor=1) == 8
    assert counted([(4, 0)], grows=True, actors=9) == 4, "of CPUs there are as many as there are"
