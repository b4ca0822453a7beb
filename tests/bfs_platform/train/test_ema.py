"""The average of the weights: its decay, and that it survives kills, other numbers of workers and other ZeRO stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import double
import pytest
import torch
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from safetensors.torch import load_file
from training import difference, weights_of

from bfs_platform.train.spec import EmaSpec
from bfs_platform.train.state import checkpoints, ema

Configured = Callable[..., dict[str, Any]]
AVERAGED = ("ema.half_life_samples=20", "ema.ramp=0.3", "checkpoint.every_steps=1", "checkpoint.keep=9")


def test_the_half_life_grows_with_the_samples_seen() -> None:
    """By hand: batches of 10, ramp 0.1: after 5 updates 50 samples were seen, so 5 count half; from 400 samples on it is 40."""
    spec = EmaSpec(half_life_samples=40, ramp=0.1)
    assert ema.decay(spec, 5, 10) == pytest.approx(0.5**2)
    assert ema.decay(spec, 40, 10) == pytest.approx(0.5**0.25)
    assert ema.decay(spec, 4000, 10) == ema.decay(spec, 40, 10)
    assert ema.decay(spec, 400, 1) == pytest.approx(0.5 ** (1 / 40)), "it counts samples, not steps"


def _state(told: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
    folder = checkpoints.path_of(Path(told["output"]), step)
    return {k: v for file in folder.glob("state-*.safetensors") for k, v in load_file(file).items()}


def _part(state: dict[str, torch.Tensor], key: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{key}/dual.sharing."): value for name, value in state.items() if name.startswith(f"{key}/")}


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_average_is_that_of_the_weights(stage: int, ranks: Ranks, configured: Configured) -> None:
    """At every ZeRO stage the average in the last checkpoint follows from the weights of all, bit by bit; it is exported, both are kept."""
    told = configured("run", "tabletop_stage1", "num_workers=2", f"zero.stage={stage}", *AVERAGED)
    exported = weights_of(ranks.run(told, 2))
    spec, states = EmaSpec(half_life_samples=20, ramp=0.3), [_state(told, step) for step in (1, 2, 3, 4)]
    expected = _part(states[0], "ema")
    for number, state in enumerate(states[1:], start=2):
        decay = ema.decay(spec, number, 4)
        for name, weight in _part(state, "master").items():
            expected[name] = expected[name] + (weight - expected[name]) * (1 - decay)
    assert difference(exported, expected) == 0
    assert difference(exported, _part(states[-1], "ema")) == 0
    assert difference(exported, _part(states[-1], "master")) > 1e-3


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_killed_run_ends_in_the_same_average(stage: int, ranks: Ranks, configured: Configured) -> None:
    """Bit by bit, and so do the weights themselves."""
    changes = ("num_workers=2", f"zero.stage={stage}", *AVERAGED)
    whole, torn = configured("whole", "tabletop_stage2", *changes), configured("torn", "tabletop_stage2", *changes)
    ranks.run(whole, 2)
    with pytest.raises(WorkerFailed):
        ranks.run(torn, 2, DIE_IN_STEP.format(step=2))
    ranks.run(torn, 2)
    assert difference(_state(torn, 4), _state(whole, 4)) == 0


@pytest.mark.distributed
@pytest.mark.parametrize("world_size", [1, 3])
def test_the_number_of_workers_does_not_change_the_average(world_size: int, ranks: Ranks, double_inputs: Path, tmp_path: Path) -> None:
    """In double precision the average agrees to 1e-9; a run goes on with another number of workers and another stage."""
    prepare = double.prepare(double_inputs)

    def told(name: str) -> dict[str, Any]:
        return double.config(tmp_path / name, "tabletop_stage2", double_inputs, (1, 2), ("num_workers=2", *AVERAGED))

    two = weights_of(ranks.run(told("two"), 2, prepare))
    assert difference(weights_of(ranks.run(told("other"), world_size, prepare)), two) < 1e-9
    changing = told("changing")
    with pytest.raises(WorkerFailed):
        ranks.run(changing, 2, prepare + DIE_IN_STEP.format(step=2))
    changing["spec"]["zero"]["stage"] = 3 if world_size == 3 else 0
    assert difference(weights_of(ranks.run(changing, world_size, prepare)), two) < 1e-9


@pytest.mark.distributed
def test_looking_on_the_way_changes_nothing(ranks: Ranks, base: Path, datasets: dict[int, Path], configured: Configured) -> None:
    """Pictures and held-out losses are made of the average; training goes on with its own weights, bit by bit."""
    settings = ("num_workers=0", "zero.stage=1", *AVERAGED)
    ranks.run(plain := configured("plain", "tabletop_backbone", *settings))
    looked = configured("looked", "tabletop_backbone", *settings, "sample_every_steps=1", "validate_every_steps=1")
    looked["datasets"]["validation"] = str(datasets[1])
    ranks.run(looked)
    assert difference(_state(looked, 4), _state(plain, 4)) == 0
    assert (Path(looked["output"]) / "samples" / "probes.png").exists()


@pytest.mark.distributed
def test_a_run_in_bfloat16_is_looked_at_where_it_trains(ranks: Ranks, datasets: dict[int, Path], configured: Configured) -> None:
    """Its pictures and losses are made by the pipeline in training, rounded as that is; training goes on with its own weights, bit by
    bit, and what is exported is the average in full precision."""
    settings = ("num_workers=0", "zero.stage=1", "zero.bf16=true", *AVERAGED)
    ranks.run(plain := configured("plain", "tabletop_stage1", *settings))
    looked = configured("looked", "tabletop_stage1", *settings, "sample_every_steps=1", "validate_every_steps=1")
    looked["datasets"]["validation"] = str(datasets[1])
    exported = weights_of(ranks.run(looked))
    assert difference(_state(looked, 4), _state(plain, 4)) == 0
    assert difference(exported, _part(_state(looked, 4), "ema")) == 0
    assert (Path(looked["output"]) / "samples" / "probes.png").exists()
