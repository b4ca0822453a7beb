"""Normalised posteriors of an AutoencoderKL."""

import numpy as np
import torch
from diffusers import AutoencoderKL

from bfs_model.latent.encoding import decode_latents, encode_images, spatial_factor, to_image, to_tensor


def tiny_vae(channels: int) -> AutoencoderKL:
    torch.manual_seed(3)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(4, 8),
        latent_channels=5,
        norm_num_groups=2,
        layers_per_block=1,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def test_posterior_is_normalised() -> None:
    """Mean and std are those of the VAE's posterior, shifted and scaled as Flux does."""
    vae = tiny_vae(3)
    images = torch.rand(2, 3, 14, 22) * 2 - 1
    with torch.no_grad():
        mean, std = encode_images(vae, images)
        moments = vae.encoder(images)
    raw_mean, log_variance = moments.chunk(2, dim=1)
    assert mean.shape == std.shape == (2, 5, 7, 11)
    torch.testing.assert_close(mean, (raw_mean - 0.1159) * 0.3611)
    torch.testing.assert_close(std, torch.exp(0.5 * log_variance) * 0.3611)


def test_no_shift_factor_means_no_shift() -> None:
    """A VAE without shift factor (as Stable Diffusion's) is only scaled."""
    vae = tiny_vae(3)
    vae.register_to_config(shift_factor=None, scaling_factor=2.0)
    images = torch.zeros(1, 3, 4, 6)
    with torch.no_grad():
        mean, _ = encode_images(vae, images)
        raw = vae.encode(images).latent_dist.mean
    torch.testing.assert_close(mean, raw * 2.0)


def test_decoding_undoes_the_normalisation() -> None:
    """decode(z / scale + shift): the same picture as the VAE itself draws from its raw latent."""
    vae = tiny_vae(3)
    raw = torch.randn(2, 5, 7, 11)
    with torch.no_grad():
        torch.testing.assert_close(decode_latents(vae, (raw - 0.1159) * 0.3611), vae.decode(raw).sample, atol=1e-5, rtol=1e-5)
    assert spatial_factor(vae) == 2


def test_image_and_tensor_ranges() -> None:
    """[0, 1] becomes [-1, 1] and back; what a decoder overshoots is clipped."""
    image = np.linspace(0, 1, 5 * 7 * 3, dtype=np.float32).reshape(5, 7, 3)
    tensor = to_tensor(image)
    assert tensor.shape == (3, 5, 7) and tensor.min() == -1 and tensor.max() == 1
    np.testing.assert_allclose(to_image(tensor[None])[0], image, atol=1e-6)
    np.testing.assert_array_equal(to_image(tensor[None] * 3).max(), 1.0)


def test_rgba_ignores_colours_under_alpha_zero() -> None:
    """What an editor left under alpha 0 changes nothing of what the VAE sees."""
    image = np.zeros((6, 10, 4), np.float32)
    image[2:4, 3:7] = (0.75, 0.25, 0.5, 1.0)
    garbage = image.copy()
    garbage[:2, :, :3] = 1.0
    seen = to_tensor(garbage)
    assert seen.shape == (4, 6, 10)
    torch.testing.assert_close(seen, to_tensor(image), rtol=0, atol=0)
    torch.testing.assert_close(seen[0], torch.full((6, 10), 0.5))
    assert seen[3].min() == -1 and seen[3].max() == 1
