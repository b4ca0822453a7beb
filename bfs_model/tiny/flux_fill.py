"""Folders in the layout of FLUX.1-Fill and FLUX.1-Redux with tiny random weights: the fakes that the real loading path is tried on.

diffusers' own pipelines write them. They hold no manifest of ours, as the real ones do not.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxFillPipeline
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from transformers import SiglipImageProcessorPil, SiglipVisionConfig, SiglipVisionModel

from bfs_model.tiny.components import Geometry, random_components
from bfs_model.weight.loading import no_progress_bars

# The shape of the real thing, everything else small: eight pixels per latent, guidance embedded, 512 and 77 tokens of text.
FLUX = Geometry(
    window_size=64,
    vae_channels=(8, 8, 8, 8),
    head_dim=16,
    num_heads=2,
    rope_axes=(4, 6, 6),
    num_double=1,
    num_single=2,
    text_tokens=512,
    clip_tokens=77,
    guidance_embeds=True,
)
_OURS = ("rgba_vae", "sharing", "compositor")


def random_flux_fill(directory: Path, seed: int = 0, geometry: Geometry = FLUX) -> Path:
    """Write a folder in FLUX.1-Fill's layout and return it. The VAE's posterior has no spread, its latents are normalised."""
    parts = {name: part for name, part in random_components(geometry, seed=seed).items() if name not in _OURS}
    head = parts["vae"].encoder.conv_out
    with torch.no_grad():
        head.weight[geometry.latent_channels :] = 0
        head.bias[geometry.latent_channels :] = -30
    parts["vae"].register_to_config(scaling_factor=0.3611, shift_factor=0.1159)
    with no_progress_bars():
        FluxFillPipeline(**parts).save_pretrained(directory, safe_serialization=True)
    return directory


def random_redux_parts(
    text_dim: int, image_size: int = 64, patch_size: int = 16, hidden_size: int = 128, num_layers: int = 4, seed: int = 0
) -> dict[str, Any]:
    """An untrained reference encoder of the real classes: (image_size / patch_size)² tokens of `text_dim` numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = SiglipVisionConfig(
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            image_size=image_size,
            patch_size=patch_size,
            vision_use_head=False,
        )
        encoder, embedder = SiglipVisionModel(config).eval(), ReduxImageEncoder(hidden_size, text_dim).eval()
    processor = SiglipImageProcessorPil(size={"height": image_size, "width": image_size})
    return {"image_encoder": encoder, "image_embedder": embedder, "feature_extractor": processor}


def random_redux(directory: Path, text_dim: int = FLUX.text_dim, seed: int = 0) -> Path:
    """Write a folder in FLUX.1-Redux's layout, with 81 tokens per picture, and return it."""
    from diffusers import FluxPriorReduxPipeline  # its import complains about a missing torchvision

    parts = random_redux_parts(text_dim, image_size=36, patch_size=4, hidden_size=32, num_layers=1, seed=seed)
    with no_progress_bars():
        FluxPriorReduxPipeline(**parts).save_pretrained(directory, safe_serialization=True)
    return directory
