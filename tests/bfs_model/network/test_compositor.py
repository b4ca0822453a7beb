"""Φ of Eq. 7: an empty layer changes nothing, and the rest can be learned."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfs_model.latent import encoding
from bfs_model.network.compositor import LatentCompositor
from bfs_model.tiny.components import TEST, random_components


def stirred(channels: int = 5, seed: int = 0) -> LatentCompositor:
    """A Φ whose weights are all random, as after some training."""
    torch.manual_seed(seed)
    phi = LatentCompositor(channels, width=16, num_blocks=2, presence=True)
    for parameter in phi.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return phi


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), batch=st.integers(1, 3), height=st.integers(1, 7), width=st.integers(1, 11), scale=st.floats(1e-3, 1e3))
@torch.no_grad()
def test_an_empty_layer_is_the_identity(seed: int, batch: int, height: int, width: int, scale: float) -> None:
    """Whatever the weights, sizes and magnitudes: Φ(z_∅, z_B) is z_B bit for bit."""
    phi = stirred(seed=seed)
    z_empty, z_bg = scale * torch.randn(1, 5, height, width), scale * torch.randn(batch, 5, height, width)
    assert torch.equal(phi(z_empty.expand_as(z_bg), z_bg, z_empty), z_bg)


@torch.no_grad()
def test_identity_holds_position_by_position() -> None:
    """Where only a part of z_F equals z_∅, that part of z_B stays as it is, and the rest does not."""
    phi = stirred()
    z_empty, z_bg = torch.randn(1, 5, 7, 11), torch.randn(2, 5, 7, 11)
    z_fg = z_empty.repeat(2, 1, 1, 1)
    z_fg[..., 3:5, 4:9] += 1
    out = phi(z_fg, z_bg, z_empty)
    here = torch.zeros(7, 11, dtype=torch.bool)
    here[3:5, 4:9] = True
    assert torch.equal(out[..., ~here], z_bg[..., ~here])
    assert (out[..., here] != z_bg[..., here]).all()


@torch.no_grad()
def test_what_hides_under_alpha_zero_does_not_matter() -> None:
    """A layer of alpha 0 encodes to z_∅ whatever its colours, so that Φ leaves the background as it is."""
    parts = random_components(TEST)
    layer = torch.rand(16, 24, 4).numpy()
    layer[..., 3] = 0
    z_fg = encoding.encode_images(parts["rgba_vae"], encoding.to_tensor(layer)[None])[0]
    z_empty = encoding.empty_layer_latent(parts["rgba_vae"], 16, 24)
    z_bg = torch.randn(1, *z_fg.shape[1:])
    assert torch.equal(parts["compositor"](z_fg, z_bg, z_empty), z_bg)
    one, other = layer.copy(), layer.copy()
    one[4:9, 5:13, 3] = other[4:9, 5:13, 3] = 1
    other[:3, :, :3] = 0.9
    assert torch.equal(encoding.to_tensor(one), encoding.to_tensor(other))


def test_gradients_reach_the_layer_and_every_weight() -> None:
    """Away from the empty latent all parameters learn and z_F gets a gradient; at it, every gradient is finite."""
    phi = stirred()
    z_empty, z_bg = torch.randn(1, 5, 4, 6), torch.randn(2, 5, 4, 6)
    z_fg = (z_empty + 0.2 * torch.randn(2, 5, 4, 6)).requires_grad_()
    phi(z_fg, z_bg, z_empty).square().mean().backward()
    assert z_fg.grad is not None and (z_fg.grad != 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in phi.parameters())
    at = z_empty.repeat(2, 1, 1, 1).requires_grad_()
    phi(at, z_bg, z_empty).square().mean().backward()
    assert at.grad is not None and torch.isfinite(at.grad).all()


@torch.no_grad()
def test_presence_rises_with_the_layer_and_noise_does_not_fill_it() -> None:
    """Fresh p: 0 for an empty layer, far from 1 under the noise of a one-step estimate, near 1 for an object."""
    phi = LatentCompositor(16, width=16, num_blocks=1, presence=True)
    z_empty, noise = torch.zeros(1, 16, 9, 9), torch.randn(1, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    empty, noisy, solid = (float(phi.presence(x, z_empty).mean()) for x in (z_empty, 0.2 * noise, 1.5 * noise))
    assert empty == 0 and noisy < 0.5 and solid > 0.99


@torch.no_grad()
def test_a_fresh_compositor_passes_the_background_through() -> None:
    """Φ starts as (almost) the identity on the background, at any resolution; the first version did without p."""
    z_fg, z_bg, z_empty = torch.randn(2, 4, 6, 10), torch.randn(2, 4, 6, 10), torch.randn(1, 4, 6, 10)
    gate = torch.sigmoid(torch.tensor(-4.0))
    phi = LatentCompositor(latent_channels=4, width=16, num_blocks=2, presence=True)
    torch.testing.assert_close(phi(z_fg, z_bg, z_empty), z_bg + phi.presence(z_fg, z_empty) * gate * (z_fg - z_bg))
    first = LatentCompositor(latent_channels=4, width=16, num_blocks=2)
    torch.testing.assert_close(first(z_fg, z_bg, z_empty), z_bg + gate * (z_fg - z_bg))


@pytest.mark.parametrize("presence", [False, True])
def test_both_versions_load(tmp_path: Path, presence: bool) -> None:
    """Saved and loaded, Φ computes the same; a configuration that does not name `presence` is of the first version."""
    phi = LatentCompositor(4, width=16, num_blocks=1, presence=presence)
    phi.save_pretrained(tmp_path)
    if not presence:
        config = json.loads((tmp_path / "config.json").read_text())
        del config["presence"]
        (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = LatentCompositor.from_pretrained(tmp_path, use_safetensors=True)
    assert loaded.config.presence is presence
    assert {k: v.shape for k, v in loaded.state_dict().items()} == {k: v.shape for k, v in phi.state_dict().items()}
    z = [torch.randn(n, 4, 6, 8) for n in (2, 2, 1)]
    assert torch.equal(loaded(*z), phi(*z))
