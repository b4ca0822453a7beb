"""Ablations change what they name, and nothing else."""

from typing import Any

import pytest

from bfs_platform.config import resolve
from bfs_platform.config.registry import names
from bfs_platform.train.launch.launch import data_of
from bfs_platform.train.network.sharing import options_of
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.spec import TrainSpec

# Recipe: the recipe that it differs from, and the keys in which it does.
ABLATIONS = {
    "ablation_without_stage1": ("tabletop_stage2", {"network.init", "num_steps"}),
    "ablation_without_stage2": ("tabletop_stage1", {"num_steps"}),
    "ablation_without_comp_stage1": ("tabletop_stage1", {"network.comp_weight"}),
    "ablation_without_comp_stage2": ("tabletop_stage2", {"network.comp_weight"}),
    "ablation_without_reg_stage2": ("tabletop_stage2", {"network.real_probability"}),
    "ablation_independent_noise_stage1": ("tabletop_stage1", {"network.shared_noise"}),
    "ablation_independent_noise_stage2": ("tabletop_stage2", {"network.shared_noise"}),
    "ablation_shared_mixer_stage1": ("tabletop_stage1", {"network.mixer"}),
    "ablation_rank4_stage1": ("tabletop_stage1", {"network.rank", "network.alpha"}),
    "ablation_rank16_stage1": ("tabletop_stage1", {"network.rank", "network.alpha"}),
    "ablation_narrow_mixer_stage1": ("tabletop_stage1", {"network.mixer_hidden"}),
    "ablation_prompts_stage1": ("tabletop_stage1", {"network.prompt_dropout"}),
    "ablation_detached_stage1": ("tabletop_stage1", {"network.detach_inputs"}),
    "ablation_flux_guidance_stage1": ("flux_stage1", {"network.guidance"}),
}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        k: v
        for key, value in values.items()
        for k, v in (_flat(value, f"{key}.") if isinstance(value, dict) else {prefix + key: value}).items()
    }


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_decision(name: str) -> None:
    """Held against its parent, an ablation differs in the named keys only, and is a valid specification."""
    parent, keys = ABLATIONS[name]
    own, theirs = (_flat(resolve(recipe, [], TrainSpec).model_dump()) for recipe in (name, parent))
    assert {key for key in own if own[key] != theirs[key]} == keys
    TrainSpec.model_validate(resolve(name, [], TrainSpec).model_dump())


def test_all_ablations_are_held_against_their_parents() -> None:
    """`bfs recipes` lists exactly the ablations of this table."""
    assert {name for name in names(TrainSpec) if name.startswith("ablation_")} == ABLATIONS.keys()


def test_ablated_terms_are_gone() -> None:
    """Without L_comp no term of it is computed; without L_reg the synthetic set is not needed."""
    network = resolve("ablation_without_comp_stage1", [], TrainSpec).network
    assert isinstance(network, SharingSpec)
    assert [option.weights for option in options_of(network)] == [{"flow": 1.0}]
    assert data_of(resolve("ablation_without_reg_stage2", [], TrainSpec).network) == ["natural"]
