"""The losses of both stages, Eq. 6–10: terms, and the stages as data that say which terms, weights and batches.

Squared norms are means over latents, so that a loss means the same at every resolution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model.latent import draws, flow
from bfs_model.latent.latents import condition, image_ids, pack, unpack
from bfs_model.network.dual_branch import DualBranch
from bfs_model.shapes import Float

_MIDDLE_SHARE, _MIDDLE = 0.7, 0.2  # of `mixed` noise levels: how many are logit-normal, and their mean before the sigmoid


@dataclass(frozen=True)
class LatentBatch:
    """One batch of encoded training data.

    `z_comp`, `z_fg`, `z_bg`: normalised latents [B, C, h, w]; in stage 2 `z_fg` holds the surrogate z_S.
    `mask`: box mask [B, 1, H, W] in pixels; `prompt_embeds` [B, L, D]; `pooled_embeds` [B, P]; `ids`: sample names.
    `z_empty` [1, C, h, w]: latent of an empty layer of this size, which Φ of Eq. 7 compares z_F with; nothing else needs it.
    """

    ids: Sequence[str]
    z_comp: Tensor
    z_fg: Tensor
    z_bg: Tensor
    mask: Tensor
    prompt_embeds: Tensor
    pooled_embeds: Tensor
    z_empty: Tensor | None = None


@dataclass(frozen=True)
class Draw:
    """What is random in one step: noise of both branches [B, C, h, w] and the noise level [B]."""

    noise_comp: Tensor
    noise_fg: Tensor
    sigma: Tensor

    @classmethod
    def for_batch(cls, batch: LatentBatch, seed: int, step: int, shared_noise: bool = True, noise_levels: str = "uniform") -> "Draw":
        """Noise and its level per sample, a pure function of (seed, step, sample id); one noise for both branches by default.

        `noise_levels`: `uniform`, t ~ U(0, 1) as in the paper, `logit_normal`, or `mixed`: 70 % logit-normal around a little more
        noise than half, where objects take their shape, and 30 % uniform, so that both ends are seen.
        """
        shape = batch.z_comp.shape[1:]
        noise_comp = draws.normal([(seed, step, i, "noise") for i in batch.ids], shape)
        noise_fg = noise_comp if shared_noise else draws.normal([(seed, step, i, "noise_fg") for i in batch.ids], shape)
        levels = [(seed, step, i, "t") for i in batch.ids]
        sigma = _levels(levels, noise_levels)
        to = batch.z_comp
        return cls(noise_comp.to(to), noise_fg.to(to), sigma.to(to))


@dataclass(frozen=True)
class Prediction:
    """Noisy latents and predicted velocities (Flux's sign) of both branches, each [B, C, h, w]."""

    x_comp: Tensor
    x_fg: Tensor
    v_comp: Tensor
    v_fg: Tensor


@dataclass(frozen=True)
class Step:
    """All that a loss term may look at."""

    batch: LatentBatch
    draw: Draw
    prediction: Prediction
    compositor: nn.Module


def predict(model: DualBranch | nn.Module, batch: LatentBatch, draw: Draw, guidance: float = 1.0) -> Prediction:
    """Noise both latents to σ and run the dual branch once."""
    height, width = batch.z_comp.shape[-2:]
    factor = batch.mask.shape[-1] // width
    x_comp, x_fg = flow.noised(batch.z_comp, draw.noise_comp, draw.sigma), flow.noised(batch.z_fg, draw.noise_fg, draw.sigma)
    velocity = model(
        torch.cat([pack(x_comp), pack(x_fg)]),
        condition(batch.z_bg, batch.mask, factor),
        draw.sigma,
        batch.prompt_embeds,
        batch.pooled_embeds,
        image_ids(height, width, batch.z_comp.device),
        guidance,
    )
    v_comp, v_fg = unpack(velocity, height, width).chunk(2)
    return Prediction(x_comp, x_fg, v_comp, v_fg)


def flow_matching(step: Step) -> Float[Tensor, ""]:
    """Eq. 6. ‖v*_C − v_C‖² + ‖v*_F − v_F‖²."""
    return realism(step) + regularisation(step)


def composition(step: Step) -> Float[Tensor, ""]:
    """Eq. 7. ‖Φ(ẑ_F, z_B) − ẑ_C‖₁ on the one-step clean estimates of both branches."""
    p, sigma = step.prediction, step.draw.sigma
    clean_comp = flow.clean_estimate(p.x_comp, p.v_comp, sigma)
    clean_fg = flow.clean_estimate(p.x_fg, p.v_fg, sigma)
    assert step.batch.z_empty is not None, "Eq. 7 needs the latent of an empty layer"
    return F.l1_loss(step.compositor(clean_fg, step.batch.z_bg, step.batch.z_empty), clean_comp)


def realism(step: Step) -> Float[Tensor, ""]:
    """Eq. 9. ‖v*_C − v_C‖²: the composite branch alone, the foreground branch fed with the surrogate."""
    return F.mse_loss(step.prediction.v_comp, flow.velocity_target(step.batch.z_comp, step.draw.noise_comp))


def regularisation(step: Step) -> Float[Tensor, ""]:
    """Eq. 10. ‖v*_F − v_F‖²: the foreground branch alone, on the synthetic set of stage 1."""
    return F.mse_loss(step.prediction.v_fg, flow.velocity_target(step.batch.z_fg, step.draw.noise_fg))


def per_sample(step: Step) -> dict[str, Float[Tensor, " batch"]]:
    """The terms of each sample by itself: `flow_comp` and `flow_fg`, which add up to Eq. 6, and `comp`, Eq. 7."""
    b, d, p = step.batch, step.draw, step.prediction
    clean_comp, clean_fg = (flow.clean_estimate(x, v, d.sigma) for x, v in ((p.x_comp, p.v_comp), (p.x_fg, p.v_fg)))
    assert b.z_empty is not None, "Eq. 7 needs the latent of an empty layer"
    errors = {
        "flow_comp": (p.v_comp - flow.velocity_target(b.z_comp, d.noise_comp)).square(),
        "flow_fg": (p.v_fg - flow.velocity_target(b.z_fg, d.noise_fg)).square(),
        "comp": (step.compositor(clean_fg, b.z_bg, b.z_empty) - clean_comp).abs(),
    }
    return {name: error.flatten(1).mean(dim=1) for name, error in errors.items()}


TERMS: dict[str, Callable[[Step], Tensor]] = {"flow": flow_matching, "comp": composition, "real": realism, "reg": regularisation}


@dataclass(frozen=True)
class Option:
    """One kind of training step: how often, on which data set, and the weights of its terms."""

    probability: float
    data: str
    weights: dict[str, float]

    def loss(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum, and each unweighted term by name."""
        terms = {name: TERMS[name](step) for name in self.weights}
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum(), terms


def first_stage(comp_weight: float = 0.1) -> tuple[Option, ...]:
    """Eq. 8. L_first = L_flow + 0.1·L_comp on the synthetic set."""
    return (Option(1.0, "synthetic", _weights(flow=1.0, comp=comp_weight)),)


def second_stage(comp_weight: float = 0.5, real_probability: float = 0.8) -> tuple[Option, ...]:
    """Paper §4.2: L_real + 0.5·L_comp on natural images in 80 % of the steps, L_reg + 0.5·L_comp on synthetic ones in 20 %."""
    real = Option(real_probability, "natural", _weights(real=1.0, comp=comp_weight))
    reg = Option(1 - real_probability, "synthetic", _weights(reg=1.0, comp=comp_weight))
    return tuple(option for option in (real, reg) if option.probability > 0)


def choose(options: Sequence[Option], seed: int, step: int) -> Option:
    """The option of this step, drawn from (seed, step) alone: the same on every rank and after every resume."""
    coin = float(draws.uniform([(seed, step, "option")])[0])
    for option in options:
        coin -= option.probability
        if coin < 0:
            return option
    return options[-1]


def _levels(keys: list[tuple[int, int, str, str]], kind: str) -> Tensor:
    """Noise levels [len(keys)] of a kind, each drawn from its own key."""
    if kind == "uniform":
        return flow.sigma_of(draws.uniform(keys))
    if kind == "logit_normal":
        return flow.logit_normal(draws.normal(keys, ()))
    assert kind == "mixed", kind
    middle = draws.uniform([(*key, "middle") for key in keys]) < _MIDDLE_SHARE
    return torch.where(middle, flow.logit_normal(draws.normal(keys, ()) + _MIDDLE), flow.sigma_of(draws.uniform(keys)))


def _weights(**weights: float) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if weight != 0}
