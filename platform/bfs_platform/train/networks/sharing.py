"""Stage 1 and stage 2: the information-sharing weights."""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bfs_model import BFSPipeline, bundle, encoding, objectives
from bfs_model.dual_branch import DualBranch
from bfs_model.memory import to_accelerator
from bfs_model.objectives import Draw, LatentBatch, Option, Step
from bfs_model.sharing import InformationSharing
from bfs_platform.train import batches
from bfs_platform.train.encoders import check_encoders
from bfs_platform.train.networks.spec import SharingSpec
from bfs_platform.train.plan.cost import flops_per_sample
from bfs_platform.train.plan.geometry import of_configs
from bfs_platform.train.probes import probe_sheet
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shards import Dataset

_PREFIX = "dual.sharing."


class StageModule(nn.Module):
    """The dual branch with its loss: what DeepSpeed wraps. Φ and the backbone are frozen.

    Φ is held, but no submodule: it is small, and stays whole and in float32 where the backbone is sharded or in bfloat16.
    """

    def __init__(self, dual: DualBranch, compositor: nn.Module, guidance: float) -> None:
        super().__init__()
        self.dual, self.guidance = dual, guidance
        self._frozen = (compositor.requires_grad_(False),)

    def forward(self, batch: LatentBatch, draw: Draw, option: Option) -> tuple[Tensor, dict[str, Tensor]]:
        prediction = objectives.predict(self.dual, batch, draw, self.guidance)
        return option.loss(Step(batch, draw, prediction, self._frozen[0].to(batch.z_bg.device)))


class SharingTask:
    """Paper §4: Eq. 8 on the synthetic set, or the 80/20 alternation over both sets."""

    def __init__(self, spec: TrainSpec, settings: SharingSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base, self.datasets = spec, settings, base, datasets
        self.options = options_of(settings)
        self.groups = {name: batches.by_size(dataset) for name, dataset in datasets.items()}
        self.option = cache(lambda step: objectives.choose(self.options, spec.seed, step))

    @cached_property
    def pipe(self) -> BFSPipeline:
        return _pipeline(self.base, self.settings, self.spec.seed)

    @cached_property
    def module(self) -> StageModule:
        pipe = self.pipe
        if self.spec.gradient_checkpointing:
            pipe.transformer.enable_gradient_checkpointing()
        for dataset in self.datasets.values():
            check_encoders(pipe, dataset, layers=True)
        pipe.sharing.requires_grad_(True)
        return StageModule(pipe.dual_branch, pipe.compositor, self.settings.guidance)

    @cached_property
    def empty(self) -> batches.EmptyLatents:
        return batches.empty_latents(self.pipe.rgba_vae, self.datasets.values())

    @cached_property
    def nothing(self) -> batches.Prompt:
        return self.pipe.encode_prompt([""])

    def data(self, step: int) -> str:
        return self.option(step).data

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        batch = batches.latent_batch(self.datasets[data], rows, self.empty)
        batch = batches.without_some_prompts(batch, self.nothing, self.settings.prompt_dropout, self.spec.seed, step)
        draw = Draw.for_batch(batch, self.spec.seed, step, self.settings.shared_noise)
        return batch.ids, (batch, draw, self.option(step))

    def flops_per_sample(self) -> float:
        """FLOP of one training pair, for the records of the first data set."""
        (height, width), *_ = self.datasets[self.options[0].data].buckets()
        factor = 2 * encoding.spatial_factor(self.pipe.vae)
        tokens = (height // factor) * (width // factor)
        configs = self.pipe.transformer.config, self.pipe.sharing.config
        text_tokens = self.datasets[self.options[0].data].prompt_embeds(np.arange(1)).shape[1]
        return flops_per_sample(of_configs(*configs, tokens, text_tokens)).step(self.spec.gradient_checkpointing)

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        dataset = self.datasets[self.options[0].data]
        return {"probes": probe_sheet(to_accelerator(self._with(weights)), dataset)}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        return bundle.save_model(self._with(weights), output / bundle.MODEL, bundle.root_of(self.base), facts)

    def _with(self, weights: dict[str, Tensor]) -> BFSPipeline:
        """A pipeline that holds these weights. The one in training holds shards under ZeRO-3, and rounded weights in bfloat16:
        another is loaded then.
        """
        whole = self.spec.zero.stage < 3 and not self.spec.zero.bf16
        pipe = self.pipe if whole else _pipeline(self.base, self.settings, self.spec.seed)
        own = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
        if pipe is not self.pipe:
            pipe.sharing.load_state_dict(own)
        return pipe


def options_of(settings: SharingSpec) -> tuple[Option, ...]:
    """The kinds of step of a stage, with the weights that the settings ask for."""
    if settings.stage == 1:
        return objectives.first_stage(settings.comp_weight)
    return objectives.second_stage(settings.comp_weight, settings.real_probability)


def _pipeline(base: str, settings: SharingSpec, seed: int) -> BFSPipeline:
    pipe = BFSPipeline.from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    if settings.init == "fresh":
        shape = settings.model_dump(include={"rank", "alpha", "mixer", "detach_inputs"})
        if settings.mixer_hidden:
            shape["mixer_hidden"] = settings.mixer_hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = InformationSharing.for_transformer(pipe.transformer, **shape)
        pipe.register_modules(sharing=fresh)
    return pipe
