"""Sets at full size: as many models at work as the cluster's GPUs hold, whichever come to lie on one."""

import pytest

from bfs_model.errors import BadInput
from bfs_platform.config import get, names, resolve
from bfs_platform.data.execute.stream import ENCODER, check_gpus, sizes_of_pools
from bfs_platform.data.model.base import named
from bfs_platform.data.spec import DataSpec, PoolSpec

SHARED = ("flux_pixels", "flux_pixels_1024", "flux_data_stage1", "flux_data_stage1_1024", "flux_data_stage2", "flux_data_stage2_1024")
CARDS = ("flux_pixels_1x24gb", "flux_data_stage1_1x24gb", "flux_data_stage2_1x24gb")
# What each takes of a GPU, in GB: its weights (fp16 and bf16, VAEs and the LoRA in float32) and an allowance for a batch.
TAKES = {"blip2": 9.0, "objectclear": 16.0, "vitmatte": 3.5, "flux_shadow": 29.0, ENCODER: 15.5}
USABLE = 79 * 2**30 * 0.95 / 1e9


def sizes(recipe: str, gpus: int, *changes: str, num_units: int = 900) -> dict[str, tuple[int, int]]:
    """Of the pools on a cluster with so many GPUs, 16 CPUs for each."""
    spec = resolve(recipe, changes, DataSpec)
    return sizes_of_pools(spec, spec.encode.enabled, {"GPU": float(gpus), "CPU": 16.0 * max(gpus, 1)}, num_units)


def share(spec: DataSpec, name: str) -> float:
    """Of a GPU, of one actor."""
    pool: PoolSpec = getattr(spec.execution.models, name, PoolSpec(gpus=spec.execution.gpus_per_encoder))
    return pool.gpus


def test_no_recipe_is_forgotten() -> None:
    """Those below are all there are."""
    assert {*SHARED, *CARDS} == {name for name in names() if name.startswith("flux_") and isinstance(get(name), DataSpec)}


@pytest.mark.parametrize("recipe", SHARED)
@pytest.mark.parametrize("gpus", [1, 2, 8, 64])
def test_pools_grow_with_the_cluster(recipe: str, gpus: int) -> None:
    """Each model once for every GPU, and all of them at once: what is packed as Ray does it, onto the fullest GPU that has room, finds a
    place, and what lies on one GPU fits it."""
    spec: DataSpec = get(recipe)
    found = sizes(recipe, gpus)
    assert {first for first, _ in found.values()} == {gpus} and all(first <= most for first, most in found.values())
    assert {*found} == {*named(spec), *([ENCODER] if spec.encode.enabled else [])}
    room, held = [10_000] * gpus, [0.0] * gpus
    for name, (first, _) in found.items():
        need = round(share(spec, name) * 10_000)
        for _ in range(first):
            place = min((i for i in range(gpus) if room[i] >= need), key=lambda i: room[i])
            room[place] -= need
            held[place] += TAKES[name]
    assert max(held) < USABLE


@pytest.mark.parametrize("recipe", SHARED)
def test_a_share_is_a_share_of_memory(recipe: str) -> None:
    """As many of one model as a GPU may be given fit it: nothing else keeps Ray from putting them together."""
    spec: DataSpec = get(recipe)
    for name, (_, most) in sizes(recipe, 1).items():
        assert most * share(spec, name) <= 1 + 1e-9 and most * TAKES[name] < USABLE, name


def test_larger_pictures_come_in_smaller_batches() -> None:
    """At twice the side a quarter at a time."""
    for recipe in SHARED[::2]:
        plain, large = get(recipe), get(f"{recipe}_1024")
        assert large.models.batch_size * 4 == plain.models.batch_size
        assert not plain.encode.enabled or large.encode.batch_size * 4 == plain.encode.batch_size


@pytest.mark.parametrize("recipe", CARDS)
def test_one_card_holds_two_models(recipe: str) -> None:
    """One of each, half of it for either, the shadow network in four bits; what else there is works on CPUs."""
    spec: DataSpec = get(recipe)
    found = sizes(recipe, 1)
    on_card = {name: share(spec, name) for name in found if share(spec, name)}
    assert [*on_card.values()] == [0.5, 0.5] and all(found[name] == (1, 1) for name in on_card)
    assert (spec.memory == "nf4") is ("flux_shadow" in on_card)
    assert spec.stage == get(recipe.removesuffix("_1x24gb")).stage and spec.buckets == get(recipe.removesuffix("_1x24gb")).buckets


def test_a_stated_number_holds_and_few_units_need_few() -> None:
    """What a recipe says is not raised by the cluster; nobody loads a model for a shard that there is not; without GPUs there is one."""
    assert sizes("flux_data_stage1", 8, "execution.models.blip2.workers=3")["blip2"] == (1, 3)
    assert {first for first, _ in sizes("flux_data_stage1", 8, num_units=2).values()} == {2}
    assert {first for first, _ in sizes("flux_data_stage1", 0).values()} == {1}


def test_without_the_gpus_of_one_actor_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """By the key that asks for them; Ray Data would wait for ever. A cluster that may grow is waited for."""
    spec: DataSpec = get("flux_data_stage2")
    with pytest.raises(BadInput, match=r"execution\.models\.\w+\.gpus=0\.\d+ is more than a node of this cluster has \(0 GPUs\); set"):
        check_gpus(spec, True, [{"CPU": 16.0}], grows=False)
    only_encodes = resolve("tabletop_data_stage2", ["execution.gpus_per_encoder=2"], DataSpec)
    with pytest.raises(BadInput, match=r"execution\.gpus_per_encoder=2 is more than a node of this cluster has \(1 GPUs\)"):
        check_gpus(only_encodes, True, [{"GPU": 1.0}, {"GPU": 1.0}], grows=False)
    check_gpus(spec, True, [{"CPU": 16.0}, {"GPU": 1.0}], grows=False)
    check_gpus(only_encodes, False, [{"CPU": 1.0}], grows=False)
    assert not capsys.readouterr().err
    check_gpus(only_encodes, True, [{"GPU": 1.0}], grows=True)
    assert "No node of the cluster has 2 GPUs for encode: waiting for one to come." in capsys.readouterr().err
