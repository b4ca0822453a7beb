"""Φ of Eq. 7: compositing in latent space. Trained apart, then frozen while BFS trains."""

from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from bfs_model.shapes import Float

_GATE_BIAS = -4.0  # σ(−4) ≈ 0.018: at the start Φ passes the background through
_PRESENCE_SCALE = 0.1  # at the start a mean squared difference of 0.1 from the empty latent makes p = 1 − 1/e


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

    Φ = z_B + p ⊙ (m ⊙ (z_F − z_B) + r) with a gate m in [0, 1] and a correction r from one convolutional trunk: any resolution.
    The presence p = 1 − exp(−‖A (z_F − z_∅)‖²), per position with a learned linear map A, is exactly 0 where z_F is z_∅, the
    latent of an empty layer: an empty layer leaves the background's latent as it is, bit for bit, whatever the weights.

    `presence=False` is Φ without p, as bundles of the first version hold it; their configuration does not name it.
    """

    @register_to_config
    def __init__(self, latent_channels: int = 16, width: int = 192, num_blocks: int = 10, presence: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2 * latent_channels, width, 3, padding=1)
        self.trunk = nn.Sequential(*[_ResidualBlock(width, 1 + i % 2) for i in range(num_blocks)], nn.GroupNorm(8, width), nn.SiLU())
        self.gate = nn.Conv2d(width, latent_channels, 3, padding=1)
        self.correction = nn.Conv2d(width, latent_channels, 3, padding=1)
        for head, bias in ((self.gate, _GATE_BIAS), (self.correction, 0.0)):
            nn.init.zeros_(head.weight)
            nn.init.constant_(cast(Tensor, head.bias), bias)
        self.sense: nn.Conv2d | None = None
        if presence:
            self.sense = nn.Conv2d(latent_channels, latent_channels, 1, bias=False)
            scale = (latent_channels * _PRESENCE_SCALE) ** -0.5
            self.sense.weight.data.copy_(scale * torch.eye(latent_channels)[..., None, None])

    def forward(
        self,
        z_fg: Float[Tensor, "batch channels height width"],
        z_bg: Float[Tensor, "batch channels height width"],
        z_empty: Float[Tensor, "#batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Composite normalised latents: z_fg of the RGBA VAE over z_bg of the RGB VAE.

        Args: `z_empty` is z_∅, the RGBA VAE's latent of an empty layer of this size (`encoding.empty_layer_latent`).
        """
        hidden = self.trunk(self.stem(torch.cat([z_fg, z_bg], dim=1)))
        change = torch.sigmoid(self.gate(hidden)) * (z_fg - z_bg) + self.correction(hidden)
        return z_bg + change if self.sense is None else z_bg + self.presence(z_fg, z_empty) * change

    def presence(
        self, z_fg: Float[Tensor, "batch channels height width"], z_empty: Float[Tensor, "#batch channels height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """p in [0, 1]: how much of a layer there is at each position; exactly 0 where z_fg equals z_empty."""
        assert self.sense is not None, "a Φ of the first version knows no presence"
        # expm1 keeps the digits of small distances, so that the gradient next to the empty latent is right as well.
        return -torch.expm1(-self.sense(z_fg - z_empty).square().sum(dim=1, keepdim=True))
