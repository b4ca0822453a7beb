"""The RGBA VAE: a 4-channel `AutoencoderKL` grown from the RGB one, and the losses of its fine-tuning.

Channel surgery and the closed-form loss over random backgrounds follow AlphaVAE (o0o0o00o0/AlphaVAE, `models/convert.py`,
`train/losses.py`: read as facts). All four channels are in [-1, 1]; opaque is alpha = 1.
"""

import copy

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from bfs_model.shapes import Float

# Mean and mean square of natural image colours in [-1, 1]: the distribution of backgrounds in the closed-form loss.
BACKGROUND_MEAN = (-0.0357, -0.0811, -0.1797)
BACKGROUND_SQUARE = (0.3163, 0.3060, 0.3634)


def grow_rgba_vae(rgb_vae: AutoencoderKL) -> AutoencoderKL:
    """A 4-channel copy of `rgb_vae` that treats every image as opaque: its RGB path is bit-identical.

    The new input column is 0, the new output row is 0 with bias 1 (alpha = 1 everywhere).
    """
    config = dict(rgb_vae.config)
    config.update(in_channels=4, out_channels=4)
    grown = AutoencoderKL.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    state = copy.deepcopy(rgb_vae.state_dict())
    state["encoder.conv_in.weight"] = _appended(state["encoder.conv_in.weight"], dim=1, value=0.0)
    state["decoder.conv_out.weight"] = _appended(state["decoder.conv_out.weight"], dim=0, value=0.0)
    state["decoder.conv_out.bias"] = _appended(state["decoder.conv_out.bias"], dim=0, value=1.0)
    grown.load_state_dict(state)
    return grown if grown.dtype == rgb_vae.dtype else grown.to(rgb_vae.dtype)


def random_background_loss(
    target: Float[Tensor, "batch 4 height width"],
    output: Float[Tensor, "batch 4 height width"],
    mean: tuple[float, float, float] = BACKGROUND_MEAN,
    square: tuple[float, float, float] = BACKGROUND_SQUARE,
) -> Float[Tensor, "batch height width"]:
    """Expected squared error of the two layers over a random background colour b, in closed form, mean over RGB.

    With d = F·a − F'·a' and e = a − a' the error over b is d − b·e, so its expectation is d² − 2·E[b]·d·e + E[b²]·e².
    Colours under alpha 0 are free.
    """
    alpha, alpha_out = (target[:, 3:] + 1) / 2, (output[:, 3:] + 1) / 2
    d = target[:, :3] * alpha - output[:, :3] * alpha_out
    e = alpha - alpha_out
    b1, b2 = (torch.tensor(v, device=target.device, dtype=target.dtype).view(1, 3, 1, 1) for v in (mean, square))
    return (d * d - 2 * b1 * d * e + b2 * e * e).mean(dim=1)


def alpha_loss(
    target: Float[Tensor, "batch height width"], output: Float[Tensor, "batch height width"], empty_weight: float | int, margin: float | int
) -> Float[Tensor, ""]:
    """Mean absolute error of alpha in [-1, 1], as it is seen: what is decoded beyond the range is clipped there.

    Where the target is empty (-1) or solid (1), the output must pass the end of the range by `margin`, and further costs
    nothing: so a small error of the latent leaves neither a veil nor a hole. Empty pixels count 1 + `empty_weight` times: a
    veil too thin to matter in a mean covers all of a picture.
    """
    empty, solid = target <= -1, target >= 1
    error = torch.where(empty, (output + 1 + margin).clamp_min(0), (output - target).abs())
    error = torch.where(solid, (1 + margin - output).clamp_min(0), error)
    return ((1 + empty_weight * empty) * error).mean()


def clipped_alpha(layers: Float[Tensor, "batch 4 height width"]) -> Float[Tensor, "batch 4 height width"]:
    """Decoded layers with alpha in [-1, 1]."""
    return torch.cat([layers[:, :3], layers[:, 3:].clamp(-1, 1)], dim=1)


def over_colour(
    layers: Float[Tensor, "batch 4 height width"], colour: float | int | Float[Tensor, "3"]
) -> Float[Tensor, "batch 3 height width"]:
    """Layers in [-1, 1] over one solid colour in [-1, 1], grey as a number or an RGB tensor."""
    alpha = (layers[:, 3:] + 1) / 2
    solid = colour.view(1, 3, 1, 1) if isinstance(colour, Tensor) else colour
    return alpha * layers[:, :3] + (1 - alpha) * solid


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL of the posterior to N(0, I), summed over latents, mean over the batch."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(dim=1).mean()


def kl_to_reference(mean: Tensor, logvar: Tensor, ref_mean: Tensor, ref_logvar: Tensor) -> Tensor:
    """KL of the posterior to that of a frozen reference VAE, mean over latents and batch: keeps latents where the backbone knows them."""
    ratio = (logvar - ref_logvar).exp()
    return 0.5 * (ratio + (mean - ref_mean) ** 2 / ref_logvar.exp() - 1 - (logvar - ref_logvar)).mean()


def _appended(weight: Tensor, dim: int, value: float) -> Tensor:
    shape = list(weight.shape)
    shape[dim] = 1
    return torch.cat([weight, weight.new_full(shape, value)], dim=dim)
