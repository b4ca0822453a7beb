"""Training specifications refuse what cannot run."""

import pytest

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train import engine
from bfs_platform.train.spec import OptimizerSpec, TrainSpec


def test_batch_must_divide_over_workers() -> None:
    """A batch that cannot be split evenly names the sizes that can."""
    with pytest.raises(BadInput, match=r"batch_size=15 is not divisible by 2 workers x micro_batch_size 4; use 8 or 16"):
        resolve("tabletop_stage1", ["batch_size=15", "micro_batch_size=4"], TrainSpec)


def test_unknown_keys_name_the_nearest() -> None:
    """A misspelt key is refused with the right one."""
    with pytest.raises(BadInput, match=r"optimizer\.learning_rat"):
        resolve("tabletop_stage1", ["optimizer.learning_rat=1"], TrainSpec)
    with pytest.raises(BadInput, match="did you mean num_steps"):
        resolve("tabletop_stage1", ["num_step=1"], TrainSpec)


def test_learning_rate_warms_up_and_falls() -> None:
    """Linear warm-up, then half a cosine down to a tenth; constant stays."""
    cosine = OptimizerSpec(lr=1.0, warmup_steps=4, schedule="cosine")
    rates = [engine.learning_rate(cosine, step, 104) for step in (0, 3, 4, 54, 103)]
    assert rates[:3] == [0.25, 1.0, 1.0]
    assert rates[3] == pytest.approx(0.55) and rates[4] == pytest.approx(0.1, abs=1e-3)
    assert engine.learning_rate(OptimizerSpec(lr=0.5), 99, 100) == 0.5
