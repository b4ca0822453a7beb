"""Figures of the small networks on held-out records (images in [-1, 1], so a range of 2)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bfs_model.latent import draws, encoding
from bfs_model.network import rgba_vae
from bfs_platform.train.sample import batches

if TYPE_CHECKING:
    from bfs_platform.train.report.gates import HeldOut

MOST_DB = 100.0  # what exact equality counts as: JSON knows no infinity
_ONE_STEP_NOISE = 0.2
# AlphaVAE's protocol: layers over black, grey, white and the six saturated colours.
SOLID_COLOURS = ((-1, -1, -1), (0, 0, 0), (1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1), (-1, 1, 1), (1, -1, 1))


def psnr(output: Tensor, target: Tensor) -> list[float]:
    """PSNR of each image [B, C, H, W] in dB, the output clipped to the range; at most 100."""
    squared = (output.cpu().clamp(-1, 1) - target.cpu()).square().flatten(1).mean(dim=1)
    return [float(v) for v in (10 * torch.log10(4 / squared.clamp_min(1e-30))).clamp_max(MOST_DB)]


@torch.no_grad()
def compositor_figures(pipe: Any, held_out: "HeldOut", seed: int) -> dict[str, float]:
    """Φ against the RGB VAE's own round trip of the true composite, and against the identity for an empty layer.

    `phi_db`, `vae_db`: PSNR of decoded Φ(z_F, z_B) and of the round trip against the true picture; `phi_gap_db`: their difference.
    `identity_db`, `identity_error`: decoded Φ(z_∅, z_B) against decoded z_B, and the largest difference of any latent;
    `noisy_identity_db`: the same for z_∅ with the noise of a one-step estimate.
    """
    found: dict[str, list[float]] = {name: [] for name in ("phi_db", "vae_db", "identity_db", "identity_error", "noisy_identity_db")}
    vae, phi = pipe.vae, pipe.compositor
    device = phi.device
    for rows in held_out.batches():
        pictures = {name: batches.images(held_out.dataset, rows, f"{name}_png") for name in ("foreground", "background", "composite")}
        z_fg = encoding.encode_images(pipe.rgba_vae, pictures["foreground"])[0].to(device)
        z_bg, z_comp = (encoding.encode_images(vae, pictures[name])[0].to(device) for name in ("background", "composite"))
        height, width = pictures["composite"].shape[-2:]
        z_empty = encoding.empty_layer_latent(pipe.rgba_vae, height, width).to(device)
        found["phi_db"] += psnr(encoding.decode_latents(vae, phi(z_fg, z_bg, z_empty)), pictures["composite"])
        found["vae_db"] += psnr(encoding.decode_latents(vae, z_comp), pictures["composite"])
        plain, empty = encoding.decode_latents(vae, z_bg).clamp(-1, 1), z_empty.expand_as(z_bg)
        untouched = phi(empty, z_bg, z_empty)
        found["identity_db"] += psnr(encoding.decode_latents(vae, untouched), plain)
        found["identity_error"] += [float((untouched - z_bg).abs().max())]
        noise = _ONE_STEP_NOISE * draws.normal([(seed, int(row), "gate") for row in rows], z_bg.shape[1:]).to(z_bg)
        found["noisy_identity_db"] += psnr(encoding.decode_latents(vae, phi(empty + noise, z_bg, z_empty)), plain)
    largest = max(found.pop("identity_error"))
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    return {"phi_gap_db": figures["vae_db"] - figures["phi_db"], **figures, "identity_error": largest}


@torch.no_grad()
def rgba_figures(vae: Any, rgb_vae: Any, held_out: "HeldOut") -> dict[str, float]:
    """The RGBA VAE's round trip of layers, and what its fine-tuning did to the latents of opaque images.

    `psnr_db`: over nine solid colours; `alpha_mae_low`, `alpha_mae_high`: error of alpha where the true one is below a half (and
    not 0) and from there on; `empty_alpha`, `empty_visible`: mean alpha where the true one is 0, and the share of those pixels
    that eight bits show; `drift_mean`, `drift_std`: shift and change of spread of normalised latents of opaque images against
    the RGB VAE's, in units of the latter's standard deviation.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in ("low", "high", "empty")}
    decibels: list[float] = []
    ours, theirs = [], []
    for rows in held_out.batches():
        layers = batches.images(held_out.dataset, rows, "foreground_png")
        output = rgba_vae.clipped_alpha(encoding.decode_latents(vae, encoding.encode_images(vae, layers)[0])).cpu()
        for colour in SOLID_COLOURS:
            solid = torch.tensor(colour, dtype=layers.dtype)
            decibels += psnr(rgba_vae.over_colour(output, solid), rgba_vae.over_colour(layers, solid))
        alpha, decoded = (layers[:, 3] + 1) / 2, (output[:, 3] + 1) / 2
        error = (decoded - alpha).abs()
        for name, where in (("low", (alpha > 0) & (alpha < 0.5)), ("high", alpha >= 0.5)):
            found[name].append(error[where])
        found["empty"].append(decoded[alpha == 0])
        images = batches.images(held_out.dataset, rows, "composite_png")
        opaque = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
        ours.append(encoding.encode_images(vae, opaque)[0].flatten().cpu())
        theirs.append(encoding.encode_images(rgb_vae, images)[0].flatten().cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    mine, reference = torch.cat(ours), torch.cat(theirs)
    return {
        "psnr_db": float(np.mean(decibels)),
        "alpha_mae_low": _mean(joined["low"]),
        "alpha_mae_high": _mean(joined["high"]),
        "empty_alpha": _mean(joined["empty"]),
        "empty_visible": _mean((joined["empty"] >= 0.5 / 255).float()),
        "drift_mean": float((mine - reference).mean().abs() / reference.std()),
        "drift_std": float((mine.std() / reference.std() - 1).abs()),
    }


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0
