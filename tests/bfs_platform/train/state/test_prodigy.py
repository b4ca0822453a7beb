"""Prodigy finds a rate by itself, and does what its authors' library does."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from bfs_platform.train.state import ema, optimizers, prodigy, state
from bfs_platform.train.state.prodigy import Prodigy


def descended(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], target: Tensor, num_steps: int) -> list[float]:
    """Losses of a quadratic whose curvature differs by a hundred between the first and the last weight."""
    losses = []
    for _ in range(num_steps):
        values = torch.cat([w.flatten() for w in weights])
        loss = (torch.linspace(1, 100, len(values), dtype=values.dtype) * (values - target).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _weights(dtype: torch.dtype = torch.float64) -> tuple[list[nn.Parameter], Tensor]:
    draw = torch.Generator().manual_seed(3)
    start = [nn.Parameter(torch.randn(size, generator=draw, dtype=dtype)) for size in ((5, 7), (11,))]
    return start, torch.randn(46, generator=draw, dtype=dtype)


def test_two_steps_by_hand() -> None:
    """One weight, gradients 2 and 1, betas 0.9 and 0.99: the first step moves it by d0·lr, the second is taken before d has grown."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = Prodigy([weight], betas=(0.9, 0.99), eps=0.0)
    (group,) = optimizer.param_groups
    weight.grad = torch.tensor([2.0], dtype=torch.float64)
    optimizer.step()
    # exp_avg = 0.1·d0·2 and exp_avg_sq = 0.01·d0²·4 are corrected by √0.01/0.1: a whole step of d0.
    assert 1 - weight.item() == pytest.approx(1e-6, rel=1e-9) and group["d"] == 1e-6 and group["k"] == 1
    assert float(optimizer.state[weight]["s"]) == pytest.approx(2e-6)
    weight.grad = torch.tensor([1.0], dtype=torch.float64)
    optimizer.step()
    # Numerator: rate·⟨1, p0 − p⟩ with rate = d0·√(1 − 0.99²)/(1 − 0.9²); denominator: √0.99·2e-6 + 1e-6.
    rate = 1e-6 * math.sqrt(1 - 0.99**2) / (1 - 0.9**2)
    assert group["d_numerator"] == pytest.approx(rate * 1e-6, rel=1e-6)
    assert float(optimizer.state[weight]["s"]) == pytest.approx(math.sqrt(0.99) * 2e-6 + 1e-6)


def test_it_finds_a_rate() -> None:
    """Without being told one it grows d by orders of magnitude and comes down; and no gradient is no step."""
    weights, target = _weights()
    optimizer = Prodigy(weights)
    losses = descended(optimizer, weights, target, 400)
    (group,) = optimizer.param_groups
    assert losses[-1] < 1e-2 * losses[0] and group["d"] > 1e3 * 1e-6
    before = [w.detach().clone() for w in weights]
    fresh = Prodigy(weights)
    fresh.zero_grad()
    fresh.step()
    for w in weights:
        w.grad = torch.zeros_like(w)
    fresh.step()
    assert fresh.param_groups[0]["k"] == 0 and all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def test_an_average_leaves_the_rate_alone() -> None:
    """State that is made for it before the first update is what Prodigy itself would make: the same weights and d, bit by bit."""
    (alone, target), (averaged, _) = _weights(), _weights()
    plain, beside = Prodigy(alone), Prodigy(averaged)
    beside.state_keys = optimizers.STATE_KEYS["prodigy"]  # type: ignore[attr-defined]
    ema.begin(SimpleNamespace(optimizer=beside))
    assert all(torch.equal(beside.state[w]["p0"], w) and torch.equal(beside.state[w][state.EMA], w) for w in averaged)
    descended(plain, alone, target, 20)
    descended(beside, averaged, target, 20)
    assert beside.param_groups[0]["d"] == plain.param_groups[0]["d"] > 1.5e-6
    assert all(torch.equal(a, b) for a, b in zip(alone, averaged, strict=True))


def test_a_weight_without_a_gradient_starts_where_it_is() -> None:
    """A checkpoint from before its first update says so, and no zeros."""
    (weight, *_), _ = _weights()
    optimizer = Prodigy([weight])
    optimizer.state_keys = optimizers.STATE_KEYS["prodigy"]  # type: ignore[attr-defined]
    module = nn.Module()
    module.weight = weight
    kept = state.snapshot(SimpleNamespace(optimizer=optimizer, module=module), 1)
    assert torch.equal(kept["p0/weight"], weight.float()) and not kept["s/weight"].any()


def test_chunks_of_a_sum_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-12 in double precision, whatever pieces a large shard is summed in."""
    (whole, target), (pieces, _) = _weights(), _weights()
    descended(Prodigy(whole), whole, target, 50)
    monkeypatch.setattr(prodigy, "_CHUNK", 3)
    descended(Prodigy(pieces), pieces, target, 50)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_it_is_its_authors(weight_decay: float) -> None:
    """prodigyopt, with its safeguard and its correction, takes the same steps to 1e-9 in double precision."""
    library = pytest.importorskip("prodigyopt", reason="`make test-quantised` brings it")
    (ours, target), (theirs, _) = _weights(), _weights()
    settings = {"lr": 0.7, "betas": (0.9, 0.99), "weight_decay": weight_decay, "d_coef": 1.3}
    descended(Prodigy(ours, **settings), ours, target, 60)
    reference = library.Prodigy(theirs, safeguard_warmup=True, use_bias_correction=True, **settings)
    descended(reference, theirs, target, 60)
    assert reference.param_groups[0]["d"] > 10 * 1e-6
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(ours, theirs, strict=True))
