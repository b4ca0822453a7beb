"""The paper's protocol on the machines that there are."""

import pytest

from bfs_platform.config import get
from bfs_platform.evaluate.run.actors import num_actors
from bfs_platform.evaluate.spec import EvaluationSpec

MACHINES = {"1×80 GB": [(16, 1)], "8×80 GB": [(96, 8)], "8 nodes": [(96, 8)] * 8}


@pytest.mark.parametrize(("machine", "actors"), [("1×80 GB", 1), ("8×80 GB", 8), ("8 nodes", 64)])
def test_a_model_on_every_gpu(machine: str, actors: int) -> None:
    """Whole GPUs, each of them, and no more models than records."""
    spec: EvaluationSpec = get("paper_evaluation")
    nodes = [{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in MACHINES[machine]]
    assert num_actors(spec, 2000, nodes, grows=False) == actors
    assert num_actors(spec, 3, nodes, grows=False) == min(actors, 3)


def test_the_protocol_is_the_same_on_one_card() -> None:
    """But for four bits, smaller batches of captions, and the metric that finds no room: all that can change a figure is named here."""
    plain, card = (get(name).model_dump() for name in ("paper_evaluation", "paper_evaluation_1x24gb"))
    changed = {key for key in plain if plain[key] != card[key]}
    assert changed == {"memory", "learned", "models"} and card["memory"] == "nf4"
    assert {key for key in plain["learned"] if plain["learned"][key] != card["learned"][key]} == {"hpsv3"}
    assert plain["caption"]["kind"] == "blip2" and plain["models"]["blip2"] == card["models"]["blip2"]
