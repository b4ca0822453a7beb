"""Packing, ids and masks equal those of diffusers' Flux-Fill pipeline."""

import torch
from diffusers import FluxFillPipeline

from bfs_model.latent import latents
from bfs_model.picture.boxes import Box


def test_pack_and_ids_are_those_of_flux_fill() -> None:
    """Packed tokens and position ids are bitwise those of `FluxFillPipeline`; unpacking restores the latents."""
    torch.manual_seed(0)
    z = torch.randn(2, 5, 6, 14)
    assert torch.equal(latents.pack(z), FluxFillPipeline._pack_latents(z, 2, 5, 6, 14))
    assert torch.equal(latents.unpack(latents.pack(z), 6, 14), z)
    ids = FluxFillPipeline._prepare_latent_image_ids(2, 3, 7, "cpu", torch.float32)
    assert torch.equal(latents.image_ids(6, 14), ids)


def test_mask_layout_is_that_of_flux_fill() -> None:
    """`pack_mask` equals what `FluxFillPipeline.prepare_mask_latents` makes of the same mask."""
    torch.manual_seed(0)
    mask = (torch.rand(2, 1, 16, 24) > 0.5).float()
    pipe = FluxFillPipeline.__new__(FluxFillPipeline)
    pipe.vae_scale_factor = 4
    pipe.vae = type("Vae", (), {"config": type("Config", (), {"shift_factor": 0.0, "scaling_factor": 1.0})()})()
    packed, _ = pipe.prepare_mask_latents(mask, torch.zeros(2, 3, 4, 6), 2, 3, 1, 16, 24, torch.float32, "cpu", None)
    assert torch.equal(latents.pack_mask(mask, 4), packed)


def test_boxes_become_masks() -> None:
    """A half-open box covers exactly its pixels, in torch as in numpy."""
    mask = latents.box_masks(torch.tensor([[1, 2, 4, 7], [0, 0, 1, 1]]), 11, 5)
    assert mask.shape == (2, 1, 11, 5) and mask[0].sum() == 15 and mask[1].sum() == 1
    assert torch.equal(mask[0, 0], torch.from_numpy(Box(1, 2, 4, 7).mask(11, 5)))


def test_condition_has_background_then_mask() -> None:
    """κ is the packed background latent followed by the packed mask."""
    z, mask = torch.randn(1, 3, 4, 6), torch.ones(1, 1, 16, 24)
    kappa = latents.condition(z, mask, 4)
    assert kappa.shape == (1, 6, 12 + 64)
    assert torch.equal(kappa[..., :12], latents.pack(z)) and (kappa[..., 12:] == 1).all()
