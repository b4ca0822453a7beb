"""Prodigy: AdamW that finds its own learning rate (Mishchenko and Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner,
2024, Algorithm 4), over shards as well.

`prodigyopt`, its authors' library, sums over shards on CUDA alone and in float32, so that the estimate of a run would depend on where
its shards begin. Here the two sums are taken in float64 and over whatever ranks there are; a test holds one to the other.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_D0 = 1e-6  # the first estimate of the distance to the solution: from there it only grows
_CHUNK = 2**24  # values of a sum at a time: a product of a whole flat shard would take gigabytes


class Prodigy(torch.optim.Optimizer):
    """AdamW at the rate `lr` × d, where d estimates from below how far the weights are from where they are going.

    With Adam's correction of its first averages, and with the safeguard for warm-ups (rates of a warm-up do not count in d), as the
    authors advise for diffusion models. `d_coef` scales the estimate. `sharded`: each rank holds a part of every tensor (ZeRO 1 to 3),
    and what is estimated is of all of them. State: the moments, `s` and `p0`, of the shape of the weights; and four numbers of the group.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        d_coef: float = 1.0,
        sharded: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "d_coef": d_coef}
        super().__init__(parameters, {**settings, "d": _D0, "d_max": _D0, "d_numerator": 0.0, "k": 0})
        self.sharded = sharded

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; none where all gradients are zero."""
        (group,) = self.param_groups
        beta1, beta2 = group["betas"]
        beta3, d, k = math.sqrt(beta2), group["d"], group["k"]
        rate = d * group["lr"] * math.sqrt(1 - beta2 ** (k + 1)) / (1 - beta1 ** (k + 1))
        given = [(p, p.grad, self._state_of(p)) for p in group["params"] if p.grad is not None]

        progress, travelled = 0.0, 0.0
        for p, gradient, state in given:
            progress += _dot(gradient, state["p0"], p)
            state["exp_avg"].mul_(beta1).add_(gradient, alpha=d * (1 - beta1))
            state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=d * d * (1 - beta2))
            # Both sums are divided by d0, which keeps them off the smallest floats.
            state["s"].mul_(beta3).add_(gradient, alpha=d * d / _D0)
            travelled += _absolute(state["s"])
        progress, travelled = self._over_ranks(given, d * rate / _D0 * progress, travelled)
        if travelled == 0:
            return

        group["d_numerator"] = beta3 * group["d_numerator"] + progress
        found = group["d_coef"] * group["d_numerator"] / travelled
        group["d_max"] = max(group["d_max"], found)
        group["d"] = group["d_max"]
        group["k"] = k + 1
        for p, _, state in given:
            if group["weight_decay"]:
                p.mul_(1 - group["weight_decay"] * rate)
            p.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["d"] * group["eps"]), value=-rate)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if "p0" not in state:
            state |= {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq", "s")}
            state["p0"] = parameter.detach().clone()
        return state

    def _over_ranks(self, given: list[Any], *sums: float) -> tuple[float, ...]:
        if not self.sharded or not dist.is_initialized() or dist.get_world_size() == 1:
            return sums
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"  # shards may lie in host memory
        values = torch.tensor(sums, dtype=torch.float64, device=device)
        dist.all_reduce(values)
        return tuple(values.tolist())


def _dot(gradient: Tensor, start: Tensor, now: Tensor) -> float:
    """⟨gradient, start − now⟩ in float64."""
    parts = zip(*(x.reshape(-1).split(_CHUNK) for x in (gradient, start, now)), strict=True)
    return sum(float((g.double() * (a.double() - b)).sum()) for g, a, b in parts)


def _absolute(values: Tensor) -> float:
    return sum(float(part.abs().sum(dtype=torch.float64)) for part in values.reshape(-1).split(_CHUNK))
