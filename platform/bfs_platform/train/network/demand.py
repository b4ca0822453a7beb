"""The networks that `bfs train plan` counts, made of configurations alone: of FLUX.1-Fill as published, or of a bundle's."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.network.compositor import LatentCompositor
from bfs_model.network.perceptual import MultiScaleGradients
from bfs_model.objectives import Draw, LatentBatch
from bfs_model.sampling import shadow_network
from bfs_model.tiny.flux_fill import random_redux_parts
from bfs_model.tiny.full_width import NUM_DOUBLE, NUM_SINGLE, TRANSFORMER, VAE
from bfs_platform.train.network.autoencoders import RgbVaeModule
from bfs_platform.train.network.backbone import BackboneModule
from bfs_platform.train.network.reference import ReferenceModule
from bfs_platform.train.network.rgba_vae import RgbaVaeModule
from bfs_platform.train.network.shadow import ShadowModule
from bfs_platform.train.plan.count import Counted, as_shapes, counted, shapes_alone
from bfs_platform.train.spec import TrainSpec


@dataclass(frozen=True)
class Base:
    """Configurations of a base, the side of its pictures in pixels, and how many tokens its texts have."""

    vae: dict[str, Any]
    transformer: dict[str, Any]
    side: int
    text_tokens: int

    @property
    def latents(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the latent of a picture."""
        side = self.side // 2 ** (len(self.vae["block_out_channels"]) - 1)
        return self.vae["latent_channels"], side, side


def flux(side: int) -> Base:
    """FLUX.1-Fill, pictures of `side` pixels."""
    if side % 16 or side < 16:
        raise BadInput("resolution", side, "is not a multiple of 16", "use 512 or 1024")
    return Base(VAE, {**TRANSFORMER, "num_layers": NUM_DOUBLE, "num_single_layers": NUM_SINGLE}, side, 512)


def of_bundle(folder: Path, side: int | None = None) -> Base:
    """A bundle's configurations, read without its weights."""
    read = {part: json.loads((folder / part / "config.json").read_text(encoding="utf-8")) for part in ("vae", "transformer")}
    plain = {part: {k: v for k, v in values.items() if not k.startswith("_")} for part, values in read.items()}
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    tokens = json.loads((folder / "tokenizer_2" / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length", 512)
    return Base(plain["vae"], plain["transformer"], side or int(index["window_size"]), int(tokens))


def demand(spec: TrainSpec, base: Base) -> Counted:
    """What a sample of a step of `spec.network` takes. LPIPS, where it is the perceptual distance, is left out.

    Raises: `BadInput` for a network that is not counted.
    """
    if spec.network.kind not in _COUNTS:
        rule = f"trains a {spec.network.kind} network, which takes seconds anywhere"
        raise BadInput("recipe", spec.recipe_name or spec.network.kind, rule, f"plan a recipe of a stage, or of {', '.join(_COUNTS)}")
    return _COUNTS[spec.network.kind](spec, base)


@shapes_alone()
def _rgba_vae(spec: TrainSpec, base: Base) -> Counted:
    s: Any = spec.network
    vae, reference = AutoencoderKL(**{**base.vae, "in_channels": 4, "out_channels": 4}), AutoencoderKL(**base.vae)
    for part in (vae.encoder, vae.quant_conv):
        if part is not None:
            part.requires_grad_(not s.decoder_only)
    module = RgbaVaeModule(vae, reference, s, None if s.perceptual == "none" else MultiScaleGradients())
    side = s.crop or base.side
    layers, spread = torch.empty(1, 4, side, side), torch.empty(1, 1, 1, 1)
    noise = torch.empty(1, *replace(base, side=side).latents)
    return counted(module, lambda: module(layers, noise, spread)[0], whole=module, bf16=spec.autocast)


@shapes_alone()
def _rgb_vae(spec: TrainSpec, base: Base) -> Counted:
    s: Any = spec.network
    module = RgbVaeModule(AutoencoderKL(**base.vae), s)
    side = s.crop or base.side
    images, weights, spread = torch.empty(1, 3, side, side), torch.empty(1, 1, side, side), torch.empty(1, 1, 1, 1)
    noise = torch.empty(1, *replace(base, side=side).latents)
    return counted(module, lambda: module(images, weights, noise, spread)[0], whole=module, bf16=spec.autocast)


@shapes_alone()
def _compositor(spec: TrainSpec, base: Base) -> Counted:
    """Of every sample the latent, and of a share of them a crop that is decoded, whose activations may be those of every sample."""
    s: Any = spec.network
    channels, rows, columns = base.latents
    phi, vae = LatentCompositor(channels, s.width, s.num_blocks, presence=True), AutoencoderKL(**base.vae).requires_grad_(False)
    z, crop = torch.empty(1, channels, rows, columns), min(s.crop, rows)

    def composed() -> Tensor:
        out: Tensor = phi(z, z, z)
        return out

    def decoded() -> Tensor:
        loss: Tensor = vae.decode(composed()[..., :crop, :crop], return_dict=False)[0].square().mean()
        return loss

    module = torch.nn.ModuleList([phi, vae])
    plain = counted(module, lambda: composed().abs().mean(), whole=vae, bf16=spec.autocast)
    both = counted(module, decoded, whole=vae, bf16=spec.autocast)
    return replace(both, flops=plain.flops + s.decoded_share * (both.flops - plain.flops))


@shapes_alone()
def _backbone(spec: TrainSpec, base: Base) -> Counted:
    def count(shallow: Base) -> Counted:
        module = BackboneModule(FluxTransformer2DModel(**{**shallow.transformer, "guidance_embeds": False}))  # it is no distilled one
        z, (tokens, pooled) = torch.empty(1, *base.latents), _text(base)
        batch = LatentBatch(("one",), z, z, z, torch.empty(1, 1, base.side, base.side), tokens, pooled)
        draw = Draw(z, z, torch.empty(1))
        return counted(module, lambda: module(batch, draw, z)[0], bf16=spec.autocast)

    return _at_depth(count, base)


def _reference(spec: TrainSpec, base: Base) -> Counted:
    """Small enough to be run."""
    s: Any = spec.network
    per_side = math.isqrt(base.text_tokens)
    text_dim = base.transformer["joint_attention_dim"]
    parts = random_redux_parts(text_dim, per_side * s.patch_size, s.patch_size, s.hidden_size, s.num_layers)
    module = ReferenceModule(parts["image_encoder"], parts["image_embedder"], 1.0).requires_grad_(True)
    pixels, target = torch.empty(1, 3, per_side * s.patch_size, per_side * s.patch_size), torch.empty(1, per_side**2, text_dim)
    return counted(module, lambda: module(pixels, target)[0], bf16=spec.autocast)


def _shadow(spec: TrainSpec, base: Base) -> Counted:
    """With checkpointing a block is there once more, with the gradients of what it computed again."""

    def count(shallow: Base, recompute: bool = spec.gradient_checkpointing) -> Counted:
        s: Any = spec.network
        with torch.device("meta"):  # LoRAs cannot be added to shapes alone
            transformer = shadow_network.control_transformer(FluxTransformer2DModel(**shallow.transformer), s.rank)
        with shapes_alone():
            as_shapes(transformer, torch.bfloat16 if spec.zero.bf16 else torch.float32)
            if recompute:
                transformer.enable_gradient_checkpointing()
            module = ShadowModule(transformer, AutoencoderKL(**base.vae), _text(base), s.guidance)
            channels, rows, columns = base.latents
            z, controls, sigma = torch.empty(1, channels, rows, columns), torch.empty(1, 3 * channels, rows, columns), torch.empty(1)
            blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
            return counted(module, lambda: module(z, controls, z, sigma)[0], whole=module.vae, blocks=blocks)

    whole = _at_depth(count, base)
    if not spec.gradient_checkpointing:
        return whole
    one, two = (count(_shallow(base, double, 1), recompute=False).kept_bytes for double in (1, 2))
    return replace(whole, kept_bytes=whole.kept_bytes + 2 * (two - one))


def _at_depth(count: Callable[[Base], Counted], base: Base) -> Counted:
    """A transformer's count from those of few blocks: all blocks of a kind are alike."""
    one, double, single = (vars(count(_shallow(base, *depth))) for depth in ((1, 1), (2, 1), (1, 2)))
    more = base.transformer["num_layers"] - 1, base.transformer["num_single_layers"] - 1
    return Counted(**{key: one[key] + more[0] * (double[key] - one[key]) + more[1] * (single[key] - one[key]) for key in one})


def _shallow(base: Base, double: int, single: int) -> Base:
    return replace(base, transformer={**base.transformer, "num_layers": double, "num_single_layers": single})


def _text(base: Base) -> tuple[Tensor, Tensor]:
    """T5's tokens and CLIP's vector of one text."""
    t = base.transformer
    return torch.empty(1, base.text_tokens, t["joint_attention_dim"]), torch.empty(1, t["pooled_projection_dim"])


_COUNTS: dict[str, Callable[[TrainSpec, Base], Counted]] = {
    "rgb_vae": _rgb_vae,
    "rgba_vae": _rgba_vae,
    "compositor": _compositor,
    "backbone": _backbone,
    "reference": _reference,
    "shadow": _shadow,
}
