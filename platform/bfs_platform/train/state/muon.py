"""Muon: matrices are moved along the nearest orthogonal one to their momentum (Jordan et al., Muon: An optimizer for hidden layers in
neural networks, 2024), all else by AdamW.

`torch.optim.Muon` takes matrices alone and keeps its state under names of its own; here one optimizer has both kinds and AdamW's
form of state, so that checkpoints, averages and guards need not know. Its steps have AdamW's size (Liu et al., Muon is Scalable for
LLM Training, 2025, Eq. 4), so that a rate found for AdamW serves.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

MOMENTUM = 0.95
_SMALLEST = 64  # sides of a matrix below which it is a head, a factor or an embedding
_ITERATIONS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # as Jordan et al. have tuned them


def is_matrix(p: Tensor) -> bool:
    """Whether a weight is moved as a matrix."""
    return p.ndim == 2 and min(p.shape) >= _SMALLEST


def orthogonal(matrix: Tensor) -> Tensor:
    """About U Vᵀ of `matrix` = U S Vᵀ: its singular values become 0.7 to 1.2, by a Newton-Schulz iteration of fifth order, in bfloat16."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for matrices whose sides both have 64 numbers or more, AdamW for the rest. Whole parameters, thus ZeRO stage 0.

    State, as AdamW has it: `exp_avg`, of a matrix its momentum; `exp_avg_sq`, of a matrix nothing.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            for p in filter(is_matrix, given):
                self._move(p, group["lr"], group["weight_decay"])
            self._adamw([p for p in given if not is_matrix(p)], group)

    def _move(self, p: Tensor, lr: float, weight_decay: float) -> None:
        momentum = self._state_of(p)["exp_avg"]
        self.state[p]["step"] += 1
        momentum.lerp_(p.grad, 1 - MOMENTUM)  # type: ignore[arg-type]
        direction = orthogonal(torch.lerp(p.grad, momentum, MOMENTUM))  # type: ignore[arg-type]
        p.mul_(1 - lr * weight_decay).add_(direction, alpha=-lr * 0.2 * math.sqrt(max(p.shape)))

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state_of(p) for p in parameters]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _state_of(self, p: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if "exp_avg" not in state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        return state
