"""A small BFS of the real classes: the geometry of the embedded default, built fresh with random weights.

`random_components` starts the training of the embedded default; `random_bundle` is the fake for tests: same folder
layout as the real thing, no training behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from bfs_model.network import text
from bfs_model.network.compositor import LatentCompositor
from bfs_model.network.rgba_vae import grow_rgba_vae
from bfs_model.network.sharing import InformationSharing

CAPTIONS = ("a small red glossy plastic sphere", "a medium green matte cube", "a large blue metal cone")


@dataclass(frozen=True)
class Geometry:
    """Sizes of a small bundle. `window_size` in pixels; the VAE shrinks by 2 per entry of `vae_channels` after the first."""

    window_size: int = 64
    vae_channels: tuple[int, ...] = (24, 48, 96)
    latent_channels: int = 16
    head_dim: int = 32
    num_heads: int = 8
    rope_axes: tuple[int, int, int] = (8, 12, 12)
    num_double: int = 2
    num_single: int = 4
    text_dim: int = 64
    text_tokens: int = 16
    clip_tokens: int = 32
    compositor_width: int = 64
    compositor_blocks: int = 4
    sharing_rank: int = 16
    sharing_hidden: int = 128
    guidance_embeds: bool = False


TINY = Geometry()
# Twice the side for the same number of tokens: a VAE that shrinks by 8, as Flux's own does, and so a mask of 8×8 cells. Its
# outer levels are as wide as those of TINY, which it can grow from.
CRISP = Geometry(window_size=128, vae_channels=(24, 48, 96, 128), latent_channels=8, compositor_width=96)
TEST = Geometry(window_size=32, vae_channels=(8, 8, 8), head_dim=16, num_heads=2, rope_axes=(4, 6, 6), num_double=1, num_single=2)


def geometry_for(side: int) -> Geometry:
    """The geometry that draws pictures of `side` pixels: the first whose window is as large, or the largest."""
    return next((geometry for geometry in (TINY, CRISP) if geometry.window_size >= side), CRISP)


def random_components(geometry: Geometry = TINY, captions: Sequence[str] = CAPTIONS, seed: int = 0) -> dict[str, Any]:
    """Every component of a `BFSPipeline`, randomly initialised from `seed` without touching the global generator."""
    g = geometry
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * len(g.vae_channels),
            up_block_types=("UpDecoderBlock2D",) * len(g.vae_channels),
            block_out_channels=g.vae_channels,
            layers_per_block=1,
            latent_channels=g.latent_channels,
            norm_num_groups=8,
            sample_size=g.window_size,
            scaling_factor=1.0,
            shift_factor=0.0,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        )
        factor = 2 ** (len(g.vae_channels) - 1)
        transformer = FluxTransformer2DModel(
            in_channels=4 * (2 * g.latent_channels + factor * factor),
            out_channels=4 * g.latent_channels,
            num_layers=g.num_double,
            num_single_layers=g.num_single,
            attention_head_dim=g.head_dim,
            num_attention_heads=g.num_heads,
            joint_attention_dim=g.text_dim,
            pooled_projection_dim=g.text_dim,
            guidance_embeds=g.guidance_embeds,
            axes_dims_rope=g.rope_axes,
        )
        sharing = InformationSharing.for_transformer(
            transformer, rank=g.sharing_rank, alpha=float(g.sharing_rank), mixer_hidden=g.sharing_hidden
        )
        compositor = LatentCompositor(g.latent_channels, g.compositor_width, g.compositor_blocks, presence=True)
        components = {"vae": vae, "rgba_vae": grow_rgba_vae(vae), "transformer": transformer, "sharing": sharing, "compositor": compositor}
        components |= _text_components(g, captions)
    components["scheduler"] = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    return {name: part.eval() if isinstance(part, torch.nn.Module) else part for name, part in components.items()}


def random_bundle(
    directory: Path,
    geometry: Geometry = TEST,
    captions: Sequence[str] = CAPTIONS,
    seed: int = 0,
    facts: Any = None,
    untrained: tuple[str, ...] = (),
    grown_from: str = "",
) -> Path:
    """Write a bundle of random weights, with `facts` in its manifest, and return its folder.

    As a fake it passes for a trained one; `untrained` names the parts that it says are not, where it is the start of a training.
    Such a start may begin with what fits of another bundle, `grown_from`.
    """
    from bfs_model.sampling.pipeline import BFSPipeline
    from bfs_model.tiny.growth import grow

    components = random_components(geometry, captions, seed)
    taken = grow(components, BFSPipeline.from_pretrained(grown_from)) if grown_from else ()
    pipe = BFSPipeline(**components, window_size=geometry.window_size)
    pipe.untrained = tuple(part for part in untrained if part not in taken)
    pipe.save_pretrained(directory, facts)
    return directory


def _text_components(g: Geometry, captions: Sequence[str]) -> dict[str, Any]:
    clip_tokens, t5_tokens = text.clip_tokenizer(captions, g.clip_tokens), text.t5_tokenizer(captions, g.text_tokens)
    clip = CLIPTextConfig(
        vocab_size=len(clip_tokens),
        hidden_size=g.text_dim,
        intermediate_size=2 * g.text_dim,
        projection_dim=g.text_dim,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=g.clip_tokens,
        bos_token_id=clip_tokens.bos_token_id,
        eos_token_id=clip_tokens.eos_token_id,
        pad_token_id=clip_tokens.pad_token_id,
    )
    t5 = T5Config(
        vocab_size=len(t5_tokens),
        d_model=g.text_dim,
        d_kv=16,
        d_ff=2 * g.text_dim,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
    )
    encoders = {"text_encoder": CLIPTextModel(clip), "text_encoder_2": T5EncoderModel(t5)}
    return {"tokenizer": clip_tokens, "tokenizer_2": t5_tokens, **encoders}
