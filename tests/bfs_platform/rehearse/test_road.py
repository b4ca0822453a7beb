"""The walk of docs/training.md is the road that a rehearsal runs, and its figures are those of the plan."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_platform.config import get, names
from bfs_platform.data.shard.file import LATENTS
from bfs_platform.rehearse.road import road
from bfs_platform.rehearse.run import MARKER, Rehearsal

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
PLACES = ("FLUX.1-Fill-dev", ["--source", "rorem", "--input", "RORem"], ["--source", "rorem", "--input", "RORem-held-out"], "RORem-test")


def test_the_walk_prints_the_commands_of_the_road() -> None:
    """Every step of stage 2's road stands in the document as it is run, in this order."""
    printed = re.sub(r"\s*\\\n\s*", " ", GUIDE)
    places = []
    for step in road("flux_stage2", *PLACES):
        command = " ".join(step.command("flux"))
        assert command in printed, command
        places.append(printed.index(command))
    assert places == sorted(places) and len(places) == 10


@pytest.mark.parametrize("recipe", [name for name in names() if name.startswith("flux_stage")])
def test_every_recipe_has_a_road_of_recipes(recipe: str) -> None:
    """Whatever the machine and the size of pictures: each step names a recipe that there is, and data are of that size."""
    steps = road(recipe, *PLACES)
    sides = {min(get(step.recipe).buckets[0]) for step in steps if step.job.startswith("build")}
    assert sides == {1024 if recipe.endswith("_1024") else 512}
    assert [step.recipe for step in steps if step.job == f"stage{recipe[10]}"] == [recipe]
    assert all(get(step.recipe) for step in steps)


def test_other_recipes_have_no_road() -> None:
    """The refusal lists those that have."""
    with pytest.raises(BadInput, match="is no recipe of a stage at full size; use one of .*flux_stage1_1x24gb"):
        road("tabletop_stage1", *PLACES)


def test_the_table_is_that_of_the_plan() -> None:
    """`infra/road/make.py` would write what stands there: memory, seconds and days of every full-size recipe, all of which fit."""
    spec = importlib.util.spec_from_file_location("make_road", ROOT / "infra/road/make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_road"] = module
    spec.loader.exec_module(module)
    assert f"<!-- plans -->\n{module.table()}<!-- /plans -->" in GUIDE


@pytest.mark.parametrize(("side", "megabytes"), [(512, 10), (1024, 15)])
def test_what_a_record_takes_on_disk(side: int, megabytes: int) -> None:
    """Means and deviations of three latents of 16 channels, and 512 tokens of 4096 numbers, in float32."""
    latents, tokens = 2 * len(LATENTS) * 16 * (side // 8) ** 2 * 4, 512 * 4096 * 4
    assert round((latents + tokens) / 1e6) == megabytes
    assert f"{megabytes} MB" in GUIDE and f"{tokens / 1e6:.1f} of them" in GUIDE


def test_a_mistyped_recipe_costs_no_earlier_rehearsal(tmp_path: Path) -> None:
    """It is refused before the folder is emptied."""
    (tmp_path / MARKER).touch()
    (tmp_path / "report.md").write_text("seen")
    with pytest.raises(BadInput):
        Rehearsal("flux_stage3", tmp_path).run()
    assert (tmp_path / "report.md").exists()
