"""The shadow generation network: a Control-LoRA of the base's Flux transformer (paper §4.1, `bfs_model.sampling.shadow_network`)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import draws, encoding, flow
from bfs_model.network.shadow import OPAQUE, shadow_over_white
from bfs_model.picture.compositing import composite
from bfs_model.picture.images import checkerboard
from bfs_model.sampling import shadow_network
from bfs_model.sampling.shadow_network import LearnedShadow, ShadowSettings
from bfs_model.weight import bundle
from bfs_model.weight.memory import quantise
from bfs_platform.train.network_spec import ShadowNetworkSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.probes import grid
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset

_NUM_PROBES = 4
_PREFIX = "transformer."


class ShadowModule(nn.Module):
    """Flow matching of the picture with shadow, given the picture without, the object and its mask."""

    def __init__(self, transformer: Any, vae: Any, prompt: tuple[Tensor, Tensor], guidance: float) -> None:
        super().__init__()
        self.transformer, self.vae = transformer, vae.requires_grad_(False)
        self.prompt, self.guidance = prompt, guidance

    def forward(self, target: Tensor, controls: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`target` and `noise` [B, C, h, w]; `controls` [B, 3C, h, w]; `sigma` [B]."""
        x = flow.noised(target, noise, sigma)
        predicted = shadow_network.velocity(self.transformer, x, controls, sigma, self.prompt, self.guidance)
        loss = F.mse_loss(predicted, flow.velocity_target(target, noise))
        return loss, {"flow": loss}


class ShadowTask:
    """Natural pictures of the stage-2 set: with shadow the picture itself, without it the cut-out object over the background.

    Some of them are whitened: the object over white, which the shadow darkens as much as it darkens the ground. So the
    network is shown what it is later asked for.
    """

    def __init__(self, spec: TrainSpec, settings: ShadowNetworkSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["natural"]
        self.groups = {"natural": batches.by_size(self.dataset)}

    @property
    def module(self) -> ShadowModule:
        """What is trained."""
        return self._made[0]

    @property
    def prompt(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the one prompt."""
        return self._made[1]

    @cached_property
    def _made(self) -> "tuple[ShadowModule, tuple[Tensor, Tensor], FlowMatchEulerDiscreteScheduler]":
        """Module, prompt and scheduler. The rest of the base is let go: on GPUs its 34 GB would lie in host memory for nobody."""
        pipe = BFSPipeline.from_pretrained(self.base, dtype="bf16" if self.spec.zero.bf16 else None, memory="none")
        tokens, pooled = pipe.encode_prompt([shadow_network.PROMPT])
        prompt = tokens.float(), pooled.float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.spec.seed)
            transformer = shadow_network.control_transformer(pipe.transformer, self.settings.rank)
        if self.spec.memory != "none":  # the LoRA lies beside the maps that are rounded
            quantise([*transformer.transformer_blocks, *transformer.single_transformer_blocks], self.spec.memory)
        if self.spec.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        return ShadowModule(transformer, pipe.vae, prompt, self.settings.guidance), prompt, pipe.scheduler

    def data(self, step: int) -> str:
        return "natural"

    @torch.no_grad()
    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        ids = [str(i) for i in self.dataset.take(rows, ["id"])["id"]]
        keys = [(self.spec.seed, step, i) for i in ids]
        whitened = draws.uniform([(*key, "white") for key in keys]) < self.settings.white_probability
        shown = [_example(*pictures, white) for pictures, white in zip(self._pictures(rows), whitened.tolist(), strict=True)]
        with_shadow, without, masks = (torch.stack(part) for part in zip(*shown, strict=True))
        vae = self.module.vae
        target = encoding.encode_images(vae, with_shadow)[0]
        noise = draws.normal([(*key, "noise") for key in keys], target.shape[1:])
        sigma = flow.sigma_of(draws.uniform([(*key, "t") for key in keys]))
        return ids, (target, shadow_network.control_latents(vae, without, masks.to(target.device)), noise, sigma)

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        provider = self._provider(weights)
        rows = np.arange(min(_NUM_PROBES, len(self.dataset)))
        sheet = []
        for i, (_, layer, _) in enumerate(self._pictures(rows)):
            both = [np.rint(x * 255).astype(np.uint8) for x in (layer, provider.add_shadow(layer, i))]
            sheet.append([checkerboard(image) for image in both])
        provider.transformer.train()
        return {"shadows": grid(sheet)}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        transformer = self._provider(weights).transformer
        state, folder = shadow_network.lora_state(transformer), output / shadow_network.KIND
        return shadow_network.save(state, self.prompt, self._settings, bundle.root_of(self.base), folder, facts)

    @property
    def _settings(self) -> ShadowSettings:
        return ShadowSettings(self.settings.rank, self.settings.guidance, self.settings.num_steps)

    def _provider(self, weights: dict[str, Tensor]) -> LearnedShadow:
        """The network with these weights, as it will be used."""
        transformer = self.module.transformer
        own = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
        unexpected = transformer.load_state_dict(own, strict=False).unexpected_keys
        assert not unexpected, f"weights of another network: {unexpected[:3]}"
        return LearnedShadow(transformer, self.module.vae, self._made[2], self.prompt, self._settings)

    def _pictures(self, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Picture, layer of the object alone, and background of each record, float in [0, 1]."""
        table = self.dataset.take(rows, ["composite_png", "foreground_png", "background_png"])
        return [(batches.decode_png(c), batches.decode_png(f), batches.decode_png(b)) for c, f, b in zip(*table.values(), strict=True)]


def _example(picture: np.ndarray, layer: np.ndarray, background: np.ndarray, white: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The picture with and without shadow [3, H, W] in [-1, 1], and the object's mask [1, H, W]."""
    without = composite(layer, background)
    if white:
        picture, without = shadow_over_white(picture, without, layer), composite(layer, np.ones_like(background))
    mask = torch.from_numpy((layer[..., 3] > OPAQUE).astype(np.float32))[None]
    return encoding.to_tensor(picture), encoding.to_tensor(without), mask
