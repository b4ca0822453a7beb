"""Runs whose transformer is compiled block by block."""

from collections.abc import Callable
from typing import Any

import pytest
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from training import difference, distance, weights_of

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import compiling

Configured = Callable[..., dict[str, Any]]


@pytest.mark.soak
def test_compiled_blocks_train_alike(ranks: Ranks, configured: Configured) -> None:
    """Under recomputation as well: the weights are those of a plain run but for rounding, and bit by bit the same where it is killed."""

    def told(name: str, *changes: str) -> dict[str, Any]:
        settings = ("num_workers=1", "num_steps=2", "checkpoint.every_steps=1", "gradient_checkpointing=true")
        return configured(name, "tabletop_stage1", *settings, *changes)

    plain, whole = weights_of(ranks.run(told("plain"))), weights_of(ranks.run(told("whole", "compile=blocks")))
    assert 0 < distance(whole, plain) < 1e-3, "a tenth of a step"
    torn = told("torn", "compile=blocks")
    with pytest.raises(WorkerFailed):
        ranks.run(torn, 1, DIE_IN_STEP.format(step=1))
    assert difference(weights_of(ranks.run(torn)), whole) == 0


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is compiled; who does not compile needs none."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BadInput, match=r"compile=blocks needs a C\+\+ compiler, and there is no no-such-compiler; install g\+\+"):
        compiling.check("blocks")
    compiling.check("none")


@pytest.mark.parametrize("change", [("flux_rgba_vae",), ("flux_stage1", "zero.stage=3")])
def test_what_is_not_compiled_is_refused(change: tuple[str, ...]) -> None:
    """Convolutions, and blocks that hold shards."""
    with pytest.raises(BadInput, match="compile=blocks is for transformers whose blocks are whole"):
        resolve(change[0], [*change[1:], "compile=blocks"], TrainSpec)
