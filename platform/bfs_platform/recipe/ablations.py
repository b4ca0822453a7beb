"""Ablations: the tabletop recipes with one decision changed. Everything else is that of `tabletop_stage1` or `tabletop_stage2`.

Where only the stage-1 recipe is named, stage 2 follows with `tabletop_stage2`: it takes shape and settings of g and of the
LoRAs from the stage-1 model.
"""

from typing import Any

from bfs_platform.config import recipe
from bfs_platform.recipe.flux import flux_stage1
from bfs_platform.recipe.training import tabletop_stage1, tabletop_stage2
from bfs_platform.train.spec import TrainSpec


@recipe
def ablation_without_stage1() -> TrainSpec:
    """Without stage 1: stage 2 on fresh sharing weights, for the steps of both stages."""
    return _changed(tabletop_stage2(), {"init": "fresh"}, num_steps=tabletop_stage1().num_steps + tabletop_stage2().num_steps)


@recipe
def ablation_without_stage2() -> TrainSpec:
    """Without stage 2: stage 1 alone, for the steps of both stages."""
    return _changed(tabletop_stage1(), {}, num_steps=tabletop_stage1().num_steps + tabletop_stage2().num_steps)


@recipe
def ablation_without_comp_stage1() -> TrainSpec:
    """Stage 1 without L_comp (Eq. 7): the branches are tied by nothing but sharing."""
    return _changed(tabletop_stage1(), {"comp_weight": 0.0})


@recipe
def ablation_without_comp_stage2() -> TrainSpec:
    """Stage 2 without L_comp (Eq. 7), from the stage-1 model given as --base."""
    return _changed(tabletop_stage2(), {"comp_weight": 0.0})


@recipe
def ablation_without_reg_stage2() -> TrainSpec:
    """Stage 2 without L_reg (Eq. 10): natural images in every step."""
    return _changed(tabletop_stage2(), {"real_probability": 1.0})


@recipe
def ablation_independent_noise_stage1() -> TrainSpec:
    """Stage 1 with a noise of its own for each branch; the paper duplicates one."""
    return _changed(tabletop_stage1(), {"shared_noise": False})


@recipe
def ablation_independent_noise_stage2() -> TrainSpec:
    """Stage 2 with a noise of its own for each branch."""
    return _changed(tabletop_stage2(), {"shared_noise": False})


@recipe
def ablation_shared_mixer_stage1() -> TrainSpec:
    """g as one linear map shared by both messages: the variant of the authors' release."""
    return _changed(tabletop_stage1(), {"mixer": "shared"})


@recipe
def ablation_rank4_stage1() -> TrainSpec:
    """LoRAs of rank and alpha 4, as in the authors' release."""
    return _changed(tabletop_stage1(), {"rank": 4, "alpha": 4.0})


@recipe
def ablation_rank16_stage1() -> TrainSpec:
    """LoRAs of rank and alpha 16."""
    return _changed(tabletop_stage1(), {"rank": 16, "alpha": 16.0})


@recipe
def ablation_narrow_mixer_stage1() -> TrainSpec:
    """g with a bottleneck of a quarter of the backbone's width, an eighth of the usual one here."""
    return _changed(tabletop_stage1(), {"mixer_hidden": 0})


@recipe
def ablation_prompts_stage1() -> TrainSpec:
    """A prompt in every sample, as in the paper: sampling cannot be guided by it."""
    return _changed(tabletop_stage1(), {"prompt_dropout": 0.0})


@recipe
def ablation_detached_stage1() -> TrainSpec:
    """No gradient through the joint inputs of sharing, as in the authors' release."""
    return _changed(tabletop_stage1(), {"detach_inputs": True})


@recipe
def ablation_flux_guidance_stage1() -> TrainSpec:
    """Stage 1 on FLUX.1-Fill with the guidance of inference (30) embedded, not 1."""
    return _changed(flux_stage1(), {"guidance": 30.0})


def _changed(spec: TrainSpec, network: dict[str, Any], **own: Any) -> TrainSpec:
    return spec.model_copy(update={"network": spec.network.model_copy(update=network), **own})
