"""The whole sampler against diffusers' own Flux-Fill pipeline."""

from typing import Any

import numpy as np
import torch
from diffusers import FluxFillPipeline
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.latent.latents import pack
from bfs_model.picture.boxes import Box
from bfs_model.tiny.components import TEST, random_components

BOX = (5, 7, 19, 23)


def _parts() -> dict[str, Any]:
    """Untrained components whose VAE has a posterior without spread: Flux-Fill samples its condition, BFS takes the mean."""
    parts = random_components(TEST)
    head = parts["vae"].encoder.conv_out
    with torch.no_grad():
        head.weight[TEST.latent_channels :] = 0
        head.bias[TEST.latent_channels :] = -30
    return parts


@torch.no_grad()
def test_fresh_bfs_samples_what_flux_fill_samples() -> None:
    """With fresh sharing weights both branches follow `FluxFillPipeline` from one noise through all steps, to 1e-5.

    The background is neutral inside the box, where Flux-Fill would blank it: so both see the same picture.
    """
    fill = FluxFillPipeline(**{k: v for k, v in _parts().items() if k not in ("rgba_vae", "sharing", "compositor")})
    pipe = BFSPipeline(**_parts(), window_size=TEST.window_size)
    for p in (fill, pipe):
        p.set_progress_bar_config(disable=True)
    mask = Box.of(BOX).mask(32, 32)
    background = np.random.default_rng(0).random((32, 32, 3), np.float32)
    background[mask == 1] = 0.5
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    ours = pipe(background, BOX, "a red cube", latents=noise, num_inference_steps=4, output_type="latent")
    tokens, pooled = pipe.encode_prompt(["a red cube"])
    prompt = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
    size = {"height": 32, "width": 32}
    picture = {"image": background[None], "mask_image": mask[None, ..., None]}
    theirs = fill(**picture, **prompt, **size, latents=pack(noise), num_inference_steps=4, output_type="latent").images
    for branch in (ours.composites[0], ours.foregrounds[0]):
        torch.testing.assert_close(branch, theirs[0], atol=SAMPLING, rtol=0)
