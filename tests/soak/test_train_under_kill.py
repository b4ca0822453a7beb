"""Training under `kill -9` at random moments: whatever moment it dies at, the run ends in the same bits. `RESULTS.md` says what was seen.

BFS_SOAK_KILLS changes the number of kills per stage (20).
"""

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import double
import numpy as np
import pytest
import torch
import training
from ranks import Ranks, WorkerFailed
from safetensors.torch import load_file

from bfs_platform.train.state import checkpoints

pytestmark = pytest.mark.soak

NUM_KILLS = int(os.environ.get("BFS_SOAK_KILLS", "20"))
NUM_STEPS = 16
SETTINGS = (f"num_steps={NUM_STEPS}", "num_workers=2", "checkpoint.every_steps=1", "checkpoint.keep=2")
AVERAGED = ("ema.half_life_samples=20", "ema.ramp=0.3")  # what is exported is the average; the weights stay in the checkpoint
# From here on a kill is worth something; before, a worker only loads.
NOTE_THE_START = """
from pathlib import Path
from bfs_platform.train import loop
original = loop.train
def train(*arguments):
    Path(order["result"] + ".started").touch()
    original(*arguments)
loop.train = train
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Starts groups of workers without Ray."""
    with Ranks(tmp_path_factory.mktemp("ranks")) as starter:
        yield starter


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Path]]:
    """A bundle and both sets."""
    root = tmp_path_factory.mktemp("inputs")
    base = training.write_base(root / "base")
    return base, {stage: training.write_set(root / f"stage{stage}", stage, base) for stage in (1, 2)}


@pytest.mark.parametrize("recipe", ["tabletop_stage1", "tabletop_stage2"])
def test_no_bit_differs_after_kills_at_random_moments(recipe: str, ranks: Ranks, inputs: Any, tmp_path: Path) -> None:
    """Neither of the averaged weights nor of all that the last checkpoint holds: two workers, a checkpoint after every step, runs of
    ZeRO 1, 2 and 3 in turn; each kill comes at a random moment of a run.

    Stages sum the gradient over other shares, so each is held against an undisturbed run of its own.
    """

    @cache
    def undisturbed(stage: int) -> tuple[dict[str, torch.Tensor], float]:
        told = training.config(tmp_path / f"whole{stage}", recipe, *inputs, (*SETTINGS, *AVERAGED, f"zero.stage={stage}"))
        began = time.perf_counter()
        return _left_by(ranks.run(told, 2)), time.perf_counter() - began

    output = tmp_path / "torn"
    kills, during_checkpoints, runs, attempt = 0, 0, 0, 0
    while kills < NUM_KILLS:
        stage = 1 + runs % 3
        told = training.config(output, recipe, *inputs, (*SETTINGS, *AVERAGED, f"zero.stage={stage}"))
        whole, length_s = undisturbed(stage)
        rng = np.random.default_rng([7, attempt])
        attempt += 1
        group = ranks.start(told, 2, NOTE_THE_START)
        _wait_for_start(ranks, group)
        time.sleep(float(rng.uniform(0, length_s / 3)))
        if ranks.alive(group):
            ranks.kill(group)
            kills += 1
            during_checkpoints += any((output / "checkpoints").glob(".step-*.partial"))
            continue
        runs += 1
        assert training.difference(_left_by(ranks.wait(group)), whole) == 0
        output = tmp_path / f"torn{runs}"
    stage = 1 + runs % 3
    told = training.config(output, recipe, *inputs, (*SETTINGS, *AVERAGED, f"zero.stage={stage}"))
    assert training.difference(_left_by(ranks.run(told, 2)), undisturbed(stage)[0]) == 0
    assert checkpoints.committed(output)[0] == checkpoints.path_of(output, NUM_STEPS)
    print(f"\n{recipe}: {kills} kills in {runs + 1} runs, {during_checkpoints} of them during a checkpoint, 0 differing bits")


def _left_by(manifest: Path) -> dict[str, torch.Tensor]:
    """What a run exported, its average, beside weights, moments and average in its last checkpoint."""
    folder = checkpoints.path_of(manifest.parent.parent, NUM_STEPS)
    state = {name: value for file in folder.glob("state-*.safetensors") for name, value in load_file(file).items()}
    exported = training.weights_of(manifest)
    masters = {name.partition("sharing.")[2]: value for name, value in state.items() if name.startswith("master/")}
    assert training.difference(exported, masters) > 1e-6, "an average that is the weights would prove nothing"
    return exported | state


def _wait_for_start(ranks: Ranks, group: Any) -> None:
    """Until both workers are in the loop."""
    limit = time.monotonic() + 300
    while not all(Path(f"{result}.started").exists() for result in group.results):
        assert ranks.alive(group) and time.monotonic() < limit, group.log()
        time.sleep(0.01)


DIE_NOW = """
import os, signal, threading
threading.Timer({after_s}, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
"""


def test_a_group_that_loses_workers_at_random_keeps_its_result(ranks: Ranks, tmp_path: Path) -> None:
    """The number of workers changes at random after each loss, 1 to 4: in double precision the result is the same."""
    settings, prepare = ("num_steps=12", "checkpoint.every_steps=1"), double.prepare(tmp_path / "inputs")
    whole, told = (double.config(tmp_path / name, "tabletop_stage2", tmp_path / "inputs", (1, 2), settings) for name in ("whole", "torn"))
    expected = training.weights_of(ranks.run(whole, 1, prepare))
    rng = np.random.default_rng(7)
    for _ in range(NUM_KILLS // 2):
        group = ranks.start(told, int(rng.integers(1, 5)), prepare + DIE_NOW.format(after_s=float(rng.uniform(1, 6))))
        try:
            manifest = ranks.wait(group)
        except WorkerFailed:
            continue
        break
    else:
        manifest = ranks.run(told, 3, prepare)
    assert training.difference(training.weights_of(manifest), expected) < 1e-9
