"""What a rehearsal's report makes of what it measured."""

from typing import Any

import pytest

from bfs_platform.rehearse.report import as_text, compared, planned
from bfs_platform.rehearse.run import Rehearsal

RECIPE = "flux_stage1_1x80gb"


def _compared(tmp_path: Any, on_gpu: bool) -> tuple[dict[str, Any], str]:
    """The report of a stage that held half as much again as planned, in a step of two seconds."""
    rehearsal = Rehearsal(RECIPE, tmp_path)
    row = {"title": "stage 1", "recipe": RECIPE, "wall_s": 9.0, "memory_bytes": 1, "step_s": 2.0}
    memory = compared(RECIPE, [row], rehearsal.geometry(), 1)["planned_bytes"]
    row["memory_bytes"] = 1.5 * memory
    plan = compared(RECIPE, [row], rehearsal.geometry(), 1, on_gpu)
    return plan, as_text([row], plan)


def test_on_an_accelerator_the_whole_recipe_is_told_at_the_measured_share(tmp_path: Any) -> None:
    """Measured by planned, and the full recipe's memory times that."""
    plan, said = _compared(tmp_path, on_gpu=True)
    full = planned(RECIPE)[0].memory.total
    assert plan["measured_to_planned"] == pytest.approx(1.5)
    assert plan["full_memory_bytes"] == full and plan["full_memory_bytes_at_this_ratio"] == pytest.approx(1.5 * full)
    assert "planned for the model: 1.50 times" in said and f"{1.5 * full / 2**30:.1f} GiB per GPU at the measured share" in said


def test_on_a_cpu_it_is_not(tmp_path: Any) -> None:
    """There a process holds libraries and encoders too, which do not grow with the model: the share stands alone."""
    plan, said = _compared(tmp_path, on_gpu=False)
    assert plan["measured_to_planned"] == pytest.approx(1.5) and plan["full_memory_bytes_at_this_ratio"] is None
    assert "1.50 times" in said and "measured share" not in said
