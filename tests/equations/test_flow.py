"""Time and sign."""

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux_fill import calculate_shift

from bfs_model.latent import flow


def test_paper_and_flux_agree() -> None:
    """The paper's interpolation, velocity and clean estimate equal Flux's with σ = 1 − t and the sign turned."""
    torch.manual_seed(0)
    data, noise, t = torch.randn(3, 5, 7, 2), torch.randn(3, 5, 7, 2), torch.tensor([0.0, 0.3, 1.0])
    sigma, time = flow.sigma_of(t), t.view(3, 1, 1, 1)
    x = flow.noised(data, noise, sigma)
    torch.testing.assert_close(x, (1 - time) * noise + time * data)
    paper_velocity = data - noise
    torch.testing.assert_close(flow.velocity_target(data, noise), -paper_velocity)
    torch.testing.assert_close(flow.clean_estimate(x, -paper_velocity, sigma), x + (1 - time) * paper_velocity)


def test_exact_velocity_gives_back_the_data() -> None:
    """With the true velocity the one-step clean estimate is the data, at any noise level."""
    torch.manual_seed(1)
    data, noise, sigma = torch.randn(2, 3, 5), torch.randn(2, 3, 5), torch.tensor([0.9, 0.1])
    estimate = flow.clean_estimate(flow.noised(data, noise, sigma), flow.velocity_target(data, noise), sigma)
    torch.testing.assert_close(estimate, data, atol=1e-6, rtol=1e-5)


def test_time_shift_is_that_of_diffusers() -> None:
    """μ equals diffusers' for small and large images, and the scheduler accepts it."""
    for tokens in (64, 256, 1024, 4096):
        assert abs(flow.time_shift(tokens) - calculate_shift(tokens)) < 1e-9
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0.2, 5), mu=flow.time_shift(256))
    assert float(scheduler.sigmas[0]) == 1.0 and float(scheduler.sigmas[-1]) == 0.0
