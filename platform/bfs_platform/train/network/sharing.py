"""Stage 1 and stage 2: the information-sharing weights."""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bfs_model import BFSPipeline, objectives
from bfs_model.latent import encoding
from bfs_model.network.dual_branch import DualBranch
from bfs_model.network.sharing import InformationSharing
from bfs_model.objectives import Draw, LatentBatch, Option, Step
from bfs_model.weight import bundle
from bfs_model.weight.memory import to_accelerator
from bfs_platform.train.network.attention import shape_of
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.plan.cost import flops_per_sample
from bfs_platform.train.plan.geometry import of_configs
from bfs_platform.train.report import validation
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.encoders import check_encoders
from bfs_platform.train.sample.probes import probe_sheet
from bfs_platform.train.sample.transfer import place
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state.kernels import Shape

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset

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
        self.held_out = validation.given(datasets)
        self.option = cache(lambda step: objectives.choose(self.options, spec.seed, step))

    @cached_property
    def pipe(self) -> BFSPipeline:
        return _pipeline(self.base, self.settings, self.spec)

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
        draw = Draw.for_batch(batch, self.spec.seed, step, self.settings.shared_noise, self.settings.noise_levels)
        return batch.ids, (batch, draw, self.option(step))

    def flops_per_sample(self) -> float:
        """FLOP of one training pair, for the records of the first data set."""
        (height, width), *_ = self.datasets[self.options[0].data].buckets()
        factor = 2 * encoding.spatial_factor(self.pipe.vae)
        tokens = (height // factor) * (width // factor)
        configs = self.pipe.transformer.config, self.pipe.sharing.config
        text_tokens = self.datasets[self.options[0].data].prompt_embeds(np.arange(1)).shape[1]
        return flops_per_sample(of_configs(*configs, tokens, text_tokens)).step(self.spec.gradient_checkpointing)

    def attention_shape(self) -> Shape:
        return shape_of(self.pipe, self.datasets[self.options[0].data], self.spec, branches=2)

    def validate(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """`flow_comp`, `flow_fg`: both halves of Eq. 6; `comp`: Eq. 7. Of true prompts."""
        assert self.held_out is not None
        pipe = to_accelerator(self._with(weights))
        return validation.banded(self.held_out, partial(self._losses, pipe))

    @torch.no_grad()
    def _losses(self, pipe: BFSPipeline, rows: np.ndarray, band: int) -> dict[str, Tensor]:
        assert self.held_out is not None
        batch = batches.latent_batch(self.held_out.dataset, rows, self.empty)
        draw = validation.draw_in_band(batch, self.spec.seed, band, self.settings.shared_noise)
        batch, draw = place((batch, draw), pipe.transformer.device)
        step = Step(batch, draw, objectives.predict(pipe.dual_branch, batch, draw, self.settings.guidance), pipe.compositor)
        return objectives.per_sample(step)

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        dataset = self.datasets[self.options[0].data]
        return {"probes": probe_sheet(to_accelerator(self._with(weights)), dataset)}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        """The weights as they are in full precision, whatever precision or sharding trained them."""
        pipe, trained = self.pipe, self.pipe.sharing
        exact = type(trained).from_config(trained.config)
        exact.load_state_dict({name.removeprefix(_PREFIX): value for name, value in weights.items()})
        pipe.register_modules(sharing=exact.eval())
        pipe.untrained = _but_sharing(pipe.untrained)
        try:
            return bundle.save_model(pipe, output / bundle.MODEL, bundle.root_of(self.base), facts)
        finally:
            pipe.register_modules(sharing=trained)

    def _with(self, weights: dict[str, Tensor]) -> BFSPipeline:
        """A pipeline that draws and is measured with these weights: the one in training, in the precision in which it trains. Under
        ZeRO-3 that one holds shards, and another is loaded.
        """
        pipe = self.pipe if self.spec.zero.stage < 3 else _pipeline(self.base, self.settings, self.spec)
        pipe.sharing.load_state_dict({name.removeprefix(_PREFIX): value for name, value in weights.items()})
        pipe.untrained = _but_sharing(pipe.untrained)
        return pipe


def _but_sharing(untrained: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in untrained if part != "sharing")


def options_of(settings: SharingSpec) -> tuple[Option, ...]:
    """The kinds of step of a stage, with the weights that the settings ask for."""
    if settings.stage == 1:
        return objectives.first_stage(settings.comp_weight)
    return objectives.second_stage(settings.comp_weight, settings.real_probability)


def _pipeline(base: str, settings: SharingSpec, spec: TrainSpec) -> BFSPipeline:
    pipe = BFSPipeline.from_pretrained(base, dtype="bf16" if spec.zero.bf16 else None, memory=spec.memory)
    pipe.set_progress_bar_config(disable=True)
    if settings.init == "fresh":
        shape = settings.model_dump(include={"rank", "alpha", "mixer", "detach_inputs"})
        if settings.mixer_hidden:
            shape["mixer_hidden"] = settings.mixer_hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            fresh = InformationSharing.for_transformer(pipe.transformer, **shape)
        pipe.register_modules(sharing=fresh)
    return pipe
