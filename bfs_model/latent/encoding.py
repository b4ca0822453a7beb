"""Images to normalised latents and back: the posterior of an `AutoencoderKL`, in Flux's convention (z − shift) · scale."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bfs_model.device import execution_device
from bfs_model.picture.compositing import pad_rgb
from bfs_model.shapes import Float


def encode_images(
    vae: Any, images: Float[Tensor, "batch channels height width"]
) -> tuple[Float[Tensor, "batch latent_channels rows columns"], Float[Tensor, "batch latent_channels rows columns"]]:
    """Mean and standard deviation of q(z | image), both normalised: (mean − shift)·scale and std·scale, in float32.

    Args: `vae` an `AutoencoderKL`; `images` in [-1, 1] with the VAE's own number of channels.
    A latent is sampled as mean + std·noise; nothing is left to normalise.
    """
    posterior = vae.encode(images.to(execution_device(vae), vae.dtype)).latent_dist
    shift, scale = _normalisation(vae)
    return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale


def decode_latents(vae: Any, latents: Float[Tensor, "batch latent_channels rows columns"]) -> Float[Tensor, "batch channels height width"]:
    """Images in about [-1, 1] of normalised latents: decode(z / scale + shift), in float32."""
    shift, scale = _normalisation(vae)
    return vae.decode((latents / scale + shift).to(execution_device(vae), vae.dtype)).sample.float()


def empty_layer_latent(rgba_vae: Any, height: int, width: int) -> Float[Tensor, "1 latent_channels rows columns"]:
    """z_∅ of Φ: the normalised mean latent of a layer of `height` × `width` pixels whose alpha is 0 everywhere."""
    with torch.no_grad():
        return encode_images(rgba_vae, to_tensor(np.zeros((height, width, 4), np.float32))[None])[0]


def spatial_factor(vae: Any) -> int:
    """How many pixels one latent spans along each side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def to_tensor(image: np.ndarray) -> Float[Tensor, "channels height width"]:
    """Float image [H, W, C] in [0, 1] → float32 [C, H, W] in [-1, 1].

    Of RGBA, colours under alpha 0 are padded first, so that what hides there does not matter; an empty layer is black.
    """
    if image.shape[-1] == 4:
        image = pad_rgb(image) if (image[..., 3] > 0).any() else np.zeros_like(image)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)) * 2 - 1


def to_image(images: Float[Tensor, "batch channels height width"]) -> np.ndarray:
    """[-1, 1] → float32 [B, H, W, C], clipped to [0, 1]."""
    return ((images.detach().float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def _normalisation(vae: Any) -> tuple[float, float]:
    return vae.config.shift_factor or 0.0, vae.config.scaling_factor
