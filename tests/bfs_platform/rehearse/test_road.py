"""The walk of docs/training.md is the road that a rehearsal runs, and its figures are those of the plan."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.config import apply, get, names
from bfs_platform.data.execute.stream import check_gpus, sizes_of_pools
from bfs_platform.data.model.base import named
from bfs_platform.data.shard.file import LATENTS
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.rehearse.records import write_shadows
from bfs_platform.rehearse.road import ASK, SERVE, road, shadow_road
from bfs_platform.rehearse.run import MARKER, Rehearsal
from bfs_platform.train.spec import TrainSpec

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
SHADOWS = ("--source", "desobav2", "--input", "DESOBAv2")
PLACES = ("FLUX.1-Fill-dev", ["--source", "rorem", "--input", "RORem"], ["--source", "rorem", "--input", "RORem-held-out"], "RORem-test")


def test_the_walk_prints_the_commands_of_the_road() -> None:
    """Every step of stage 2's road, the shadow network before it and the service behind it stand in the document as they are run, in this
    order; and the document has no others."""
    printed = re.sub(r"\s*\\\n\s*", " ", GUIDE)
    places = []
    steps = [*shadow_road("flux_stage2", PLACES[0], SHADOWS), *road("flux_stage2", *PLACES)]
    for command in (*(step.command("flux") for step in steps), SERVE, ASK):
        assert f"{' '.join(command)}\n" in printed, command
        places.append(printed.index(" ".join(command)))
    assert places == sorted(places) and len(places) == 14
    assert len(re.findall(r"^jobs/\w+\.py ", printed[printed.index("### The walk") :], re.MULTILINE)) == 12


def test_every_build_that_draws_shadows_is_told_of_their_network() -> None:
    """Where the step before has left it; no other build is."""
    for step in road("flux_stage2", *PLACES):
        if step.job.startswith("build"):
            told = "--set models.flux_shadow=flux/shadow" in " ".join(step.command("flux"))
            assert told is (get(step.recipe).shadow.kind == "flux_shadow")
    (*_, network) = shadow_road("flux_stage2", PLACES[0], SHADOWS)
    assert network.output == "shadow" and network.job == "train_shadow"


@pytest.mark.parametrize("recipe", [name for name in names() if name.startswith("flux_stage")])
def test_every_recipe_has_a_road_of_recipes(recipe: str) -> None:
    """Whatever the machine and the size of pictures: each step names a recipe that there is, and data are of that size."""
    steps = road(recipe, *PLACES)
    sides = {min(get(step.recipe).buckets[0]) for step in steps if step.job.startswith("build")}
    assert sides == {1024 if recipe.endswith("_1024") else 512}
    assert [step.recipe for step in steps if step.job == f"stage{recipe[10]}"] == [recipe]
    assert all(get(step.recipe) for step in steps)


@pytest.mark.parametrize("recipe", [name for name in names() if name.startswith("flux_stage")])
def test_every_step_is_for_the_machine(recipe: str) -> None:
    """Trainings are of its name to the letter. What works on any number of GPUs of 80 GB has one recipe, and of 24 GB its own, but for sets
    of 1024 pixels, which are built elsewhere."""
    machine, large = re.fullmatch(r"flux_stage\d(_\d+x\d+gb)?(_1024)?", recipe).groups(default="")  # type: ignore[union-attr]
    card = "_1x24gb" if machine == "_1x24gb" else ""
    steps = [*shadow_road(recipe, PLACES[0], SHADOWS), *road(recipe, *PLACES)]
    suffixes = {
        **dict.fromkeys(("train_shadow", "train_rgba_vae", "train_compositor"), machine),
        **dict.fromkeys(("stage1", "stage2"), machine + large),
        **dict.fromkeys(("build_stage1", "build_stage2"), large or card),
        "evaluate": card,
        "promote": "",
    }
    plain = {"desobav2_data", "flux_shadow", "flux_pixels", "flux_rgba_vae", "flux_data_stage1", "flux_compositor", "flux_stage1"}
    plain |= {"flux_data_stage2", "flux_stage2", "paper_evaluation", "promotion"}
    for step in steps:
        suffix = "" if step.recipe == "desobav2_data" else suffixes[step.job]
        assert step.recipe.endswith(suffix) and step.recipe.removesuffix(suffix) in plain, step
        if isinstance(spec := get(step.recipe), TrainSpec):
            assert spec.num_workers == {"": 8, "_1x80gb": 1, "_64x80gb": 64, "_1x24gb": 1}[machine]
        if isinstance(spec, EvaluationSpec):
            assert spec.gpus_per_actor == 1 and (spec.memory == "nf4") is bool(card)


def test_a_name_that_is_missing_is_no_road(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than the recipe of another machine."""
    there = [name for name in names() if name != "flux_compositor_64x80gb"]
    monkeypatch.setattr("bfs_platform.rehearse.road.names", lambda: there)
    with pytest.raises(AssertionError, match="flux_compositor_64x80gb is on the road, and there is no such recipe"):
        road("flux_stage1_64x80gb", *PLACES)


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


@pytest.mark.parametrize("recipe", ["flux_stage1_1x24gb", "flux_stage2"])
def test_a_rehearsal_leaves_no_step_out(tmp_path: Path, recipe: str) -> None:
    """It runs the whole walk, made small by settings that each recipe has; shadows are drawn by the network that it has trained."""
    rehearsal = Rehearsal(recipe, tmp_path)
    whole = [*shadow_road(recipe, PLACES[0], SHADOWS), *road(recipe, *PLACES)]
    assert [(step.job, step.recipe, step.output) for step in rehearsal.walk()] == [(step.job, step.recipe, step.output) for step in whole]
    for step in rehearsal.walk():
        small = apply(get(step.recipe), rehearsal.changes(step))
        if isinstance(small, DataSpec):
            assert small.shadow == get(step.recipe).shadow
            assert {*named(small)} <= {"flux_shadow"} and small.execution.models.flux_shadow.gpus == 0
        if isinstance(small, TrainSpec):
            assert (small.num_steps, small.num_workers) == (4, 2)


@pytest.mark.parametrize("recipe", ["flux_stage1_1x24gb", "flux_stage2", "flux_stage2_1024"])
@pytest.mark.parametrize("library", [False, True])
def test_a_rehearsal_uses_the_gpu_that_is_there(recipe: str, library: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker on one GPU, on which encoder and shadow network of a build lie together; four bits where their library is, too."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("bfs_platform.rehearse.run._has_bitsandbytes", lambda: library)
    rehearsal = Rehearsal(recipe, tmp_path)
    for step in rehearsal.walk():
        whole, small = get(step.recipe), apply(get(step.recipe), rehearsal.changes(step))
        if isinstance(small, DataSpec):
            shares = sizes_of_pools(small, small.encode.enabled, {"CPU": 4.0, "GPU": 1.0}, num_units=3)
            assert set(shares.values()) <= {(1, 1)}
            check_gpus(small, small.encode.enabled, [{"CPU": 4.0, "GPU": 1.0}], grows=False)
            assert small.execution.gpus_per_encoder > 0 and small.execution.models.flux_shadow.gpus > 0
            assert small.execution.gpus_per_encoder + small.execution.models.flux_shadow.gpus <= 1
            assert small.memory == (whole.memory if library else "none")
        if isinstance(small, TrainSpec):
            assert small.use_gpu and small.num_workers == small.batch_size == 1


def test_a_rehearsal_takes_as_many_workers_as_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two unless there are fewer; more are refused, since they would wait for ever. Without GPUs any number works on CPUs."""
    assert Rehearsal("flux_stage2", tmp_path, workers=5).num_workers == 5
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for gpus, workers in ((1, 1), (2, 2), (8, 2)):
        monkeypatch.setattr("torch.cuda.device_count", lambda gpus=gpus: gpus)
        assert Rehearsal("flux_stage2", tmp_path).num_workers == workers
    assert Rehearsal("flux_stage2", tmp_path, workers=8).num_workers == 8
    (tmp_path / MARKER).touch()
    with pytest.raises(BadInput, match=r"workers=9 is more than this machine has GPUs \(8\); use 8"):
        Rehearsal("flux_stage2", tmp_path, workers=9).run()
    assert (tmp_path / MARKER).exists()


def test_pictures_for_the_shadow_network_show_the_shadow_alone(tmp_path: Path) -> None:
    """In the layout that DESOBAv2 is read in; with and without shadow they differ where its mask says."""
    source = open_source("desobav2", write_shadows(tmp_path, 3, 64, seed=13))
    rows = [*source.rows()]
    assert [row.id for row in rows] == ["0000", "0001", "0002"]
    for row in rows:
        with_shadow, without, thing, shade = (
            np.asarray(Image.open(tmp_path / row.parts[role].path)).astype(int)
            for role in ("composite", "shadow_free", "object_mask", "effect_mask")
        )
        darker = (without - with_shadow).max(axis=-1)
        assert (darker[shade > 0] > 1).all() and np.median(darker[thing > 0]) == 0, "the edge of the object is clear in part"
        assert (darker[(shade == 0) & (thing == 0)] <= 0.05 * 255).all() and (darker >= 0).all()


def test_a_mistyped_recipe_costs_no_earlier_rehearsal(tmp_path: Path) -> None:
    """It is refused before the folder is emptied."""
    (tmp_path / MARKER).touch()
    (tmp_path / "report.md").write_text("seen")
    with pytest.raises(BadInput):
        Rehearsal("flux_stage3", tmp_path).run()
    assert (tmp_path / "report.md").exists()
