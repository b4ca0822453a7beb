"""How well a small network tells the composites of a system from true renderings: a two-sample test with a classifier.

A critic is trained for each system, on the kept pictures of one evaluation, and judged on those of another, whose scenes it never
saw (Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017). Its figure is the area under the ROC curve: 0.5 when it
cannot tell them apart, 1 when it always can. It sees what people see first: blurred outlines, blotches, shadows that do not fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model.latent import draws
from bfs_platform.evaluate.spec import CriticSpec

REAL = "truth"


@dataclass(frozen=True)
class Pairs:
    """The same scenes twice, as crops [N, 3, side, side] in [-1, 1]: as they are, and as a system composes them."""

    real: Tensor
    drawn: Tensor


class Critic(nn.Module):
    """Convolutions that halve the resolution four times; the mean over places of what the last finds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width]
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        self.norms = nn.ModuleList(nn.GroupNorm(8, w) for w in widths)
        self.head = nn.Linear(2 * widths[-1], 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits [B] that `crops` [B, 3, H, W] are drawn. Mean and maximum: one bad place is enough to give a picture away."""
        x = crops
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = F.silu(norm(stage(x)))
        found: Tensor = self.head(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))
        return found[:, 0]


def train_critic(pairs: Pairs, spec: CriticSpec, seed: int) -> Critic:
    """Train on both pictures of scenes drawn by (seed, step), mirrored half of the time and moved by a few pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(spec.width)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    half = spec.batch_size // 2
    labels = torch.cat([torch.zeros(half), torch.ones(half)])
    for step in range(spec.num_steps):
        optimizer.param_groups[0]["lr"] = spec.lr * min(1.0, 2 * (1 - step / spec.num_steps))
        generator = draws.generator("critic", seed, step)
        rows = torch.randint(len(pairs.real), (half,), generator=generator)
        crops = _varied(torch.cat([pairs.real[rows], pairs.drawn[rows]]), generator)
        loss = F.binary_cross_entropy_with_logits(critic(crops), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return critic.eval()


def _varied(crops: Tensor, generator: torch.Generator, reach: int = 4) -> Tensor:
    """Mirrored half of the time, and moved by up to `reach` pixels: both pictures of a scene in the same way."""
    flip, dy, dx = (int(torch.randint(n, (1,), generator=generator)) for n in (2, 2 * reach + 1, 2 * reach + 1))
    moved = F.pad(crops, (reach,) * 4, mode="replicate")[..., dy : dy + crops.shape[-2], dx : dx + crops.shape[-1]]
    return moved.flip(-1) if flip else moved


@torch.no_grad()
def auc(critic: Critic, pairs: Pairs) -> float:
    """The chance that a drawn picture looks more drawn to the critic than a real one does."""
    drawn, real = (torch.cat([critic(part) for part in crops.split(64)]).double().numpy() for crops in (pairs.drawn, pairs.real))
    return area_under_curve(drawn, real)


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The share of pairs in which the positive has the higher score; equal ones count half (Mann and Whitney's U)."""
    higher = (positive[:, None] > negative[None, :]).mean()
    return float(higher + 0.5 * (positive[:, None] == negative[None, :]).mean())


def judge(fit: Mapping[str, Pairs], held_out: Mapping[str, Pairs], spec: CriticSpec) -> dict[str, dict[str, object]]:
    """Of each system the mean of its critics' figures, their spread, and each of them. Both arguments name the same systems."""
    found: dict[str, dict[str, object]] = {}
    for system, pairs in fit.items():
        figures = [auc(train_critic(pairs, spec, seed), held_out[system]) for seed in spec.seeds]
        spread = round(float(np.std(figures)), 4)
        found[system] = {"auc": round(float(np.mean(figures)), 4), "spread": spread, "by_seed": [round(figure, 4) for figure in figures]}
    return found
