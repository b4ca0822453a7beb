"""Eq. 6–10 against hand computation, and the rules of both stages."""

from collections import Counter

import pytest
import torch

from bfs_model import objectives
from bfs_model.objectives import Draw, LatentBatch, Option, Prediction, Step


class _AddingCompositor(torch.nn.Module):
    """A fake Φ: the sum of its latents above the empty one."""

    def forward(self, z_fg: torch.Tensor, z_bg: torch.Tensor, z_empty: torch.Tensor) -> torch.Tensor:
        return z_fg - z_empty + z_bg


def _step(sigma: float = 0.5) -> Step:
    one = torch.ones(1, 2, 2, 2)
    batch = LatentBatch(
        ["a"],
        z_comp=3 * one,
        z_fg=2 * one,
        z_bg=one,
        mask=torch.ones(1, 1, 8, 8),
        prompt_embeds=torch.zeros(1, 3, 5),
        pooled_embeds=torch.zeros(1, 5),
        z_empty=0.25 * one,
    )
    draw = Draw(noise_comp=one, noise_fg=one, sigma=torch.tensor([sigma]))
    prediction = Prediction(x_comp=2 * one, x_fg=1.5 * one, v_comp=-1 * one, v_fg=-2 * one)
    return Step(batch, draw, prediction, _AddingCompositor())


def test_eq_6_9_10_by_hand() -> None:
    """True velocities are 1−3 = −2 and 1−2 = −1; the predictions −1 and −2 are off by one each."""
    step = _step()
    assert float(objectives.realism(step)) == 1.0
    assert float(objectives.regularisation(step)) == 1.0
    assert float(objectives.flow_matching(step)) == 2.0


def test_eq_7_by_hand() -> None:
    """ẑ_C = 2 + 0.5·1 = 2.5, ẑ_F = 1.5 + 0.5·2 = 2.5, Φ = 2.5 − 0.25 + 1 = 3.25, so the loss is 0.75."""
    assert float(objectives.composition(_step())) == pytest.approx(0.75)


def test_eq_8_weights() -> None:
    """Stage 1 is flow + 0.1·comp on the synthetic set."""
    (option,) = objectives.first_stage()
    loss, terms = option.loss(_step())
    assert option.data == "synthetic" and set(terms) == {"flow", "comp"}
    assert float(loss) == pytest.approx(2.0 + 0.1 * 0.75)


def test_second_stage_is_80_to_20_drawn_from_seed_and_step() -> None:
    """The coin falls 80 to 20, is the same on every rank, and differs between seeds; a weight of 0 drops its term."""
    options = objectives.second_stage()
    drawn = [objectives.choose(options, 7, step).data for step in range(2000)]
    assert drawn == [objectives.choose(options, 7, step).data for step in range(2000)]
    assert drawn != [objectives.choose(options, 8, step).data for step in range(2000)]
    assert 0.77 < Counter(drawn)["natural"] / 2000 < 0.83
    assert {o.data: set(o.weights) for o in options} == {"natural": {"real", "comp"}, "synthetic": {"reg", "comp"}}
    assert [set(o.weights) for o in objectives.second_stage(comp_weight=0.0)] == [{"real"}, {"reg"}]
    assert [o.data for o in objectives.second_stage(real_probability=1.0)] == ["natural"]


def test_draws_depend_on_names_alone() -> None:
    """Noise and time of a sample are the same in any batch; both branches share their noise by default."""
    zeros = torch.zeros(3, 2, 2, 2)
    batch = LatentBatch(["a", "b", "c"], zeros, zeros, zeros, torch.ones(3, 1, 8, 8), torch.zeros(3, 1, 1), torch.zeros(3, 1))
    turned = LatentBatch(["c", "a", "b"], zeros, zeros, zeros, batch.mask, batch.prompt_embeds, batch.pooled_embeds)
    one, two = Draw.for_batch(batch, 7, 11), Draw.for_batch(turned, 7, 11)
    assert torch.equal(one.noise_comp[[2, 0, 1]], two.noise_comp) and torch.equal(one.sigma[[2, 0, 1]], two.sigma)
    assert torch.equal(one.noise_comp, one.noise_fg)
    apart = Draw.for_batch(batch, 7, 11, shared_noise=False)
    assert not torch.equal(apart.noise_comp, apart.noise_fg)
    assert not torch.equal(one.noise_comp, Draw.for_batch(batch, 7, 12).noise_comp)


def test_noise_levels_of_the_middle() -> None:
    """Half of the logit-normal levels lie within the quartiles of sigmoid(N(0, 1)), and they are a function of names too."""
    ids = [str(i) for i in range(2000)]
    zeros = torch.zeros(2000, 1, 1, 1)
    batch = LatentBatch(ids, zeros, zeros, zeros, torch.ones(2000, 1, 4, 4), torch.zeros(2000, 1, 1), torch.zeros(2000, 1))
    middle = {kind: Draw.for_batch(batch, 7, 3, noise_levels=kind).sigma for kind in ("uniform", "logit_normal")}
    share = {kind: float(((sigma > 0.3375) & (sigma < 0.6625)).float().mean()) for kind, sigma in middle.items()}
    assert share == pytest.approx({"uniform": 0.325, "logit_normal": 0.5}, abs=0.04)
    assert torch.equal(middle["logit_normal"], Draw.for_batch(batch, 7, 3, noise_levels="logit_normal").sigma)


def test_options_name_known_terms() -> None:
    """A term that does not exist cannot be weighed."""
    with pytest.raises(KeyError, match="perceptual"):
        Option(1.0, "synthetic", {"perceptual": 1.0}).loss(_step())
