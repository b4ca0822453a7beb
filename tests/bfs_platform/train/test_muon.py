"""Muon beside AdamW, held to torch's own of both."""

import torch

from bfs_platform.train.state.muon import MOMENTUM, Muon, is_matrix, orthogonal


def _weights() -> list[torch.nn.Parameter]:
    shapes = ((128, 64), (64, 192), (64,), (32, 256), (4, 64, 64))  # the first two are matrices
    return [torch.nn.Parameter(0.02 * torch.randn(shape, generator=torch.manual_seed(i))) for i, shape in enumerate(shapes)]


def _give_gradients(parameters: list[torch.nn.Parameter], step: int) -> None:
    for i, p in enumerate(parameters):
        p.grad = torch.randn(p.shape, generator=torch.manual_seed(100 * step + i))


def test_what_is_moved_as_a_matrix() -> None:
    """Neither vectors nor heads, nor stacks of matrices."""
    assert [is_matrix(p) for p in _weights()] == [True, True, False, False, False]


def test_five_steps_are_those_of_torch() -> None:
    """`torch.optim.Muon` for matrices, `torch.optim.AdamW` for the rest, to the last bits of bfloat16."""
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    ours, theirs = _weights(), _weights()
    matrices, rest = ([p for p in theirs if is_matrix(p) is wanted] for wanted in (True, False))
    optimizer = Muon(ours, betas=(0.9, 0.99), **settings)
    known = torch.optim.Muon(matrices, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw", **settings)
    usual = torch.optim.AdamW(rest, betas=(0.9, 0.99), **settings)
    for step in range(5):
        _give_gradients(ours, step)
        _give_gradients(theirs, step)
        for each in (optimizer, known, usual):
            each.step()
    for mine, other, before in zip(ours, theirs, _weights(), strict=True):
        moved = float((other - before).detach().abs().max())
        assert moved > 1e-2
        assert float((mine - other).detach().abs().max()) < 0.02 * moved


def test_all_singular_values_become_about_one() -> None:
    """Of a matrix whose own lie three orders of magnitude apart; its singular vectors stay."""
    values = torch.logspace(0, -2, 64)
    u, v = (torch.linalg.qr(torch.randn(n, 64, generator=torch.manual_seed(n)))[0] for n in (96, 80))
    moved = orthogonal(u * values @ v.T)
    inner = u.T @ moved @ v
    assert (inner.diagonal() > 0.5).all() and (inner.diagonal() < 1.3).all()
    assert float((inner - inner.diagonal().diag()).abs().max()) < 0.1


def test_a_weight_without_gradient_stays() -> None:
    """As in any optimizer: also the weights' decay leaves it alone."""
    parameters = _weights()
    _give_gradients(parameters, 0)
    parameters[0].grad = None
    before = parameters[0].detach().clone()
    Muon(parameters, weight_decay=0.5).step()
    assert torch.equal(parameters[0], before)
