"""Runs under each optimizer: exact under kills at every ZeRO stage, and what may not change on the way."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import double
import pytest
import torch
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from safetensors.torch import load_file
from training import difference, losses_of, weights_of

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import checkpoints, optimizers

Configured = Callable[..., dict[str, Any]]
PRODIGY = ("optimizer.kind=prodigy", "optimizer.lr=1", "optimizer.d_coef=10000")
EIGHT_BITS = ("optimizer.kind=adamw8bit",)
OFTEN = ("num_workers=2", "checkpoint.every_steps=1", "checkpoint.keep=9")
EXTRAS = ("ema.half_life_samples=20", "guard.norm_factor=9")
has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
eight_bits = pytest.mark.skipif(not has_bitsandbytes, reason="`make test-quantised` brings bitsandbytes")
RUNS = [pytest.param(PRODIGY, stage, id=f"prodigy-{stage}") for stage in (0, 1, 2, 3)]
RUNS += [pytest.param(("optimizer.kind=muon",), 0, id="muon-0")]
RUNS += [pytest.param(EIGHT_BITS, stage, id=f"adamw8bit-{stage}", marks=eight_bits) for stage in (0, 1, 2)]


def _state(told: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
    folder = checkpoints.path_of(Path(told["output"]), step)
    return {k: v for file in folder.glob("state-*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "stage"), RUNS)
def test_a_killed_run_ends_in_the_same_state(kind: tuple[str, ...], stage: int, ranks: Ranks, configured: Configured) -> None:
    """With an average and a guard beside it: weights, moments, codes and the numbers of the run, bit by bit."""
    changes = (f"zero.stage={stage}", *OFTEN, *kind, *EXTRAS)
    whole, torn = configured("whole", "tabletop_stage1", *changes), configured("torn", "tabletop_stage1", *changes)
    ranks.run(whole, 2)
    with pytest.raises(WorkerFailed):
        ranks.run(torn, 2, DIE_IN_STEP.format(step=2))
    ranks.run(torn, 2)
    one, two = _state(whole, 4), _state(torn, 4)
    assert difference(two, one) == 0
    kept = optimizers.STATE_KEYS[whole["spec"]["optimizer"]["kind"]]
    names = {name.split("/")[0] if not name.startswith("own/") else name.split("/")[-1] for name in one}
    assert names == {"master", "ema", "updates", "guard", *kept.whole, *kept.own, *(["shared"] if kept.shared else [])}
    assert difference(one, {**one, **_masters(_state(whole, 3))}) > 1e-6, "the last step hardly changes anything: it would prove nothing"


def _masters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith("master/")}


@pytest.mark.distributed
@pytest.mark.parametrize(("world_size", "stage"), [(1, 0), (3, 3)])
def test_prodigy_finds_the_same_rate_on_any_number_of_workers(
    world_size: int, stage: int, ranks: Ranks, double_inputs: Path, tmp_path: Path
) -> None:
    """In double precision to 1e-9; a run begun on two goes on with that number and another stage."""
    prepare = double.prepare(double_inputs)

    def told(name: str) -> dict[str, Any]:
        return double.config(tmp_path / name, "tabletop_stage2", double_inputs, (1, 2), (*OFTEN, *PRODIGY))

    two = weights_of(ranks.run(told("two"), 2, prepare))
    changing = told("changing")
    with pytest.raises(WorkerFailed):
        ranks.run(changing, 2, prepare + DIE_IN_STEP.format(step=2))
    changing["spec"]["zero"]["stage"] = stage
    assert difference(weights_of(ranks.run(changing, world_size, prepare)), two) < 1e-9
    assert float(_state(changing, 4)["shared"][0]) > 1e-6, "the rate never grew: it would prove nothing"


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_prodigy_finds_the_same_rate_beside_an_average(stage: int, ranks: Ranks, configured: Configured) -> None:
    """And the same weights, bit by bit, whoever shards them."""
    changes = (f"zero.stage={stage}", *OFTEN, *PRODIGY)
    plain = configured("plain", "tabletop_stage1", *changes)
    averaged = configured("averaged", "tabletop_stage1", *changes, "ema.half_life_samples=20")
    for told in (plain, averaged):
        ranks.run(told, 2)
    kept = {name: value for name, value in _state(averaged, 4).items() if not name.startswith("ema/")}
    assert difference(kept, _state(plain, 4)) == 0 and float(kept["shared"][0]) > 1e-6


def test_adamw_is_one_kernel_on_gpus() -> None:
    """Five steps, the last two from a state that was begun anew, come to what they come to without."""
    spec = resolve("tabletop_stage1", ["optimizer.kind=adamw", "guard.norm_factor=9", "guard.loss_factor=9"], TrainSpec)
    weights = []
    for use_gpu in (False, True):
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 50))
        optimizer: Any = optimizers.make([parameter], spec.model_copy(update={"use_gpu": use_gpu}))
        assert bool(optimizer.defaults["fused"]) is use_gpu
        for step in range(5):
            optimizer.guard.open(lambda: (1.0, 1.0))
            parameter.grad = torch.cos(parameter.detach() * (step + 1))
            optimizer.step()
            optimizer.guard.close()
            if step == 2:
                kept = {key: optimizer.state[parameter][key].clone() for key in ("exp_avg", "exp_avg_sq")}
                optimizers.begin(optimizer, parameter, torch.tensor(3))
                optimizer.state[parameter].update(kept)
        weights.append(parameter.detach())
    assert float((weights[0] - weights[1]).abs().max()) < 1e-6


@eight_bits
@pytest.mark.distributed
def test_eight_bits_train_as_thirty_two_do(ranks: Ranks, configured: Configured) -> None:
    """The losses of four steps agree to a percent; the moments take a quarter and a little."""
    runs = {kind: configured(kind, "tabletop_stage1", *OFTEN, f"optimizer.kind={kind}") for kind in ("adamw", "adamw8bit")}
    for run in runs.values():
        ranks.run(run, 2)
    losses = {kind: [line["loss"] for line in losses_of(Path(run["output"]))] for kind, run in runs.items()}
    assert losses["adamw8bit"] == pytest.approx(losses["adamw"], rel=0.01) and losses["adamw8bit"] != losses["adamw"]
    size = {kind: sum(v.nbytes for k, v in _state(run, 4).items() if not k.startswith("master/")) for kind, run in runs.items()}
    assert size["adamw8bit"] < 0.27 * size["adamw"]


@eight_bits
@pytest.mark.distributed
def test_moments_in_eight_bits_stay_with_their_ranks(ranks: Ranks, configured: Configured) -> None:
    """Another number of workers, or another stage, is refused before anything is read."""
    run = configured("run", "tabletop_stage1", *OFTEN, *EIGHT_BITS, "num_steps=1")
    ranks.run(run, 2)
    run["spec"]["num_steps"] = 2
    with pytest.raises(WorkerFailed, match="moments in eight bits of 2 workers"):
        ranks.run(run, 1)
    run["spec"]["zero"]["stage"] = 1
    with pytest.raises(WorkerFailed, match=r"another zero\.stage"):
        ranks.run(run, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optimizer.kind=prodigy"], r"optimizer\.lr=0\.\d+ would be a factor .*use optimizer\.lr=1"),
        (["optimizer.d_coef=2"], r"optimizer\.d_coef=2.* is not read by adamw"),
        (["optimizer.kind=adamw8bit", "zero.stage=3"], "does not know shards of ZeRO-3"),
        (["optimizer.kind=muon", "zero.stage=1"], "needs whole matrices, which ZeRO cuts"),
        (["optimizer.kind=adamw8bit", "num_workers=2", "min_workers=1", "batch_size=4", "micro_batch_size=1"], "eight bits belong"),
    ],
)
def test_what_does_not_go_together(changes: list[str], message: str) -> None:
    """Each refusal names the key and a remedy."""
    with pytest.raises(BadInput, match=message):
        resolve("tabletop_stage1", changes, TrainSpec)


@pytest.mark.skipif(has_bitsandbytes, reason="bitsandbytes is there")
def test_a_missing_library_is_named() -> None:
    """Before anything is loaded: what to install, or which optimizer needs nothing."""
    with pytest.raises(BadInput, match=r"optimizer\.kind=adamw8bit needs bitsandbytes, which is not installed; install it .*kind=adamw"):
        optimizers.check(resolve("tabletop_stage1", [*EIGHT_BITS], TrainSpec).optimizer)
