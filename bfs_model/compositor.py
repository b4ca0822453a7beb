"""Φ of Eq. 7: compositing in latent space. Trained apart, then frozen while BFS trains."""

from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from bfs_model.shapes import Float

_GATE_BIAS = -4.0  # σ(−4) ≈ 0.018: at the start Φ passes the background through


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class LatentCompositor(ModelMixin, ConfigMixin):
    """Φ of Eq. 7, ẑ_C ≈ Φ(ẑ_F, z_B): a gated blend of foreground and background latents plus a correction.

    Φ = z_B + m ⊙ (z_F − z_B) + r with m in [0, 1] and r from one convolutional trunk: any resolution.
    """

    @register_to_config
    def __init__(self, latent_channels: int = 16, width: int = 192, num_blocks: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2 * latent_channels, width, 3, padding=1)
        self.trunk = nn.Sequential(*[_ResidualBlock(width, 1 + i % 2) for i in range(num_blocks)], nn.GroupNorm(8, width), nn.SiLU())
        self.gate = nn.Conv2d(width, latent_channels, 3, padding=1)
        self.correction = nn.Conv2d(width, latent_channels, 3, padding=1)
        for head, bias in ((self.gate, _GATE_BIAS), (self.correction, 0.0)):
            nn.init.zeros_(head.weight)
            nn.init.constant_(cast(Tensor, head.bias), bias)

    def forward(
        self, z_fg: Float[Tensor, "batch channels height width"], z_bg: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Composite normalised latents: z_fg of the RGBA VAE over z_bg of the RGB VAE."""
        hidden = self.trunk(self.stem(torch.cat([z_fg, z_bg], dim=1)))
        return z_bg + torch.sigmoid(self.gate(hidden)) * (z_fg - z_bg) + self.correction(hidden)
