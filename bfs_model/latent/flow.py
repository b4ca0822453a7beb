"""Time and sign: the only arithmetic on time in the project.

Paper: z_t = (1 − t)·noise + t·data, velocity v* = data − noise, t = 0 noise, t = 1 data.
Flux:  x_σ = (1 − σ)·data + σ·noise, the network predicts noise − data.
So σ = 1 − t, v* = −v_flux, and the clean estimate z_t + (1 − t)·v* equals x_σ − σ·v_flux. The code keeps Flux's sign,
because the frozen backbone does.
"""

from torch import Tensor

from bfs_model.shapes import Float


def sigma_of(t: Tensor) -> Tensor:
    """Flux's noise level of the paper's time: σ = 1 − t. The map is its own inverse."""
    return 1 - t


def logit_normal(normal: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Noise levels σ = sigmoid(n) of standard normal n (Esser et al. 2024): more of them in the middle than at the ends."""
    return normal.sigmoid()


def within_band(sigma: Float[Tensor, " batch"], band: int, num_bands: int) -> Float[Tensor, " batch"]:
    """Noise levels in [0, 1) brought into one of `num_bands` equal bands; band 0 has the least noise."""
    return (band + sigma) / num_bands


def noised(
    data: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch *shape"], sigma: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *shape"]:
    """The latent at noise level σ (paper §4.1): x_σ = (1 − σ)·data + σ·noise, one σ in [0, 1] per sample."""
    level = _like(sigma, data)
    return (1 - level) * data + level * noise


def velocity_target(data: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
    """What the network predicts, in Flux's sign: noise − data = −v* of Eq. 6."""
    return noise - data


def clean_estimate(
    x: Float[Tensor, "batch *shape"], velocity: Float[Tensor, "batch *shape"], sigma: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *shape"]:
    """One-step denoised estimate (the hats of Eq. 7): x_σ − σ·v_flux."""
    return x - _like(sigma, x) * velocity


def time_shift(num_tokens: int) -> float:
    """μ of Flux's resolution-dependent schedule: a line through (256 tokens, 0.5) and (4096 tokens, 1.15)."""
    slope = (1.15 - 0.5) / (4096 - 256)
    return 0.5 + slope * (num_tokens - 256)


def _like(sigma: Tensor, data: Tensor) -> Tensor:
    return sigma.to(data.dtype).view(-1, *[1] * (data.ndim - 1))
