"""The RGBA VAE: surgery and losses."""

import numpy as np
import pytest
import torch

from bfs_model.latent import encoding
from bfs_model.network import rgba_vae
from bfs_model.picture.compositing import composite
from bfs_model.tiny.components import TEST, random_components


@torch.no_grad()
def test_surgery_leaves_the_rgb_path_as_it_is() -> None:
    """Posterior and decoded colours equal the RGB VAE's, and every pixel is opaque.

    In double precision: a convolution of four channels, one of them zero, sums in another order than one of three.
    """
    vae = random_components(TEST)["vae"].double()
    grown = rgba_vae.grow_rgba_vae(vae)
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 24, dtype=torch.float64) * 2 - 1
    layers = torch.cat([images, torch.rand(2, 1, 16, 24, dtype=torch.float64)], dim=1)
    ours, theirs = grown.encode(layers).latent_dist, vae.encode(images).latent_dist
    torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.std, theirs.std, atol=1e-12, rtol=1e-12)
    decoded = grown.decode(ours.mean).sample
    torch.testing.assert_close(decoded[:, :3], vae.decode(theirs.mean).sample, atol=1e-12, rtol=1e-12)
    assert (decoded[:, 3] == 1).all()


def test_closed_form_is_the_mean_over_backgrounds() -> None:
    """The closed form equals a Monte-Carlo mean of the composite error over random background colours."""
    torch.manual_seed(0)
    a, b = torch.rand(1, 4, 3, 5) * 2 - 1, torch.rand(1, 4, 3, 5) * 2 - 1
    colours = torch.rand(200_000, 3) * 2 - 1
    mean, square = (tuple(float(v) for v in m) for m in (colours.mean(0), colours.square().mean(0)))
    closed = rgba_vae.random_background_loss(a, b, mean, square)

    def over(layer: torch.Tensor, pixel: tuple[int, int]) -> torch.Tensor:
        rgb, alpha = layer[0, :3, *pixel], (layer[0, 3, *pixel] + 1) / 2
        return alpha * rgb + (1 - alpha) * colours

    for pixel in ((0, 0), (2, 4)):
        sampled = (over(a, pixel) - over(b, pixel)).square().mean()
        torch.testing.assert_close(closed[0, *pixel], sampled, atol=1e-4, rtol=1e-3)


def test_colour_under_alpha_zero_is_free() -> None:
    """Where both layers are transparent, their colours cost nothing."""
    layer = torch.rand(1, 4, 3, 3)
    layer[:, 3] = -1
    other = layer.clone()
    other[:, :3] = 0.9
    assert rgba_vae.random_background_loss(layer, other).abs().max() < 1e-6


def test_reference_kl_is_zero_for_equal_posteriors_only() -> None:
    """The drift term vanishes at the reference and grows with distance."""
    mean, logvar = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert float(rgba_vae.kl_to_reference(mean, logvar, mean, logvar)) == 0
    assert float(rgba_vae.kl_to_reference(mean + 1, logvar, mean, logvar)) > 0.1


@torch.no_grad()
def test_round_trip_of_normalisation() -> None:
    """Encoding normalises with shift and scale, decoding undoes it: same picture as the bare VAE."""
    vae = random_components(TEST)["vae"]
    vae.register_to_config(shift_factor=0.3, scaling_factor=2.0)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    mean, std = encoding.encode_images(vae, images)
    posterior = vae.encode(images).latent_dist
    torch.testing.assert_close(mean, (posterior.mean - 0.3) * 2)
    torch.testing.assert_close(std, posterior.std * 2)
    torch.testing.assert_close(encoding.decode_latents(vae, mean), vae.decode(posterior.mean).sample, atol=1e-5, rtol=1e-4)


def test_alpha_is_pushed_past_both_ends() -> None:
    """By hand, margin 0.25: empty pixels weigh 1 + 2 and cost what stands above −1.25, solid ones what lacks to 1.25; else |error|."""
    target = torch.tensor([[[-1.0, -1.0, -1.0, 1.0, 1.0, 0.5, 0.5]]])
    output = torch.tensor([[[-2.0, -1.0, 0.0, 2.0, 1.0, 0.0, 1.5]]])
    expected = (3 * (0 + 0.25 + 1.25) + (0 + 0.25) + (0.5 + 1.0)) / 7
    assert float(rgba_vae.alpha_loss(target, output, empty_weight=2, margin=0.25)) == pytest.approx(expected)


def test_layers_over_a_colour_agree_with_eq_1() -> None:
    """In [-1, 1], with a number or a colour behind: the same picture as Eq. 1 in [0, 1]; decoded alpha is clipped first."""
    torch.manual_seed(0)
    layer, colour = torch.rand(5, 7, 4), torch.tensor([0.2, 0.9, 0.4])
    truth = torch.from_numpy(composite(layer.numpy(), np.broadcast_to(colour.numpy(), (5, 7, 3)))).permute(2, 0, 1)
    ours = rgba_vae.over_colour(layer.permute(2, 0, 1)[None] * 2 - 1, colour * 2 - 1)[0]
    torch.testing.assert_close((ours + 1) / 2, truth)
    beyond = torch.full((1, 4, 1, 1), -1.5)
    assert rgba_vae.clipped_alpha(beyond).flatten().tolist() == [-1.5, -1.5, -1.5, -1.0]
    assert float(rgba_vae.over_colour(rgba_vae.clipped_alpha(beyond), 0).abs().max()) == 0
