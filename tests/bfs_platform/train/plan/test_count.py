"""What is counted on shapes alone is what a network does with numbers."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from typer.testing import CliRunner

from bfs_model.errors import BadInput
from bfs_model.tiny.components import TINY, random_components
from bfs_platform.cli.main import app
from bfs_platform.config import resolve
from bfs_platform.train.network import demand
from bfs_platform.train.network.rgba_vae import RgbaVaeModule
from bfs_platform.train.network_spec import RgbaVaeSpec
from bfs_platform.train.plan import cost
from bfs_platform.train.plan.count import counted, kept_bytes
from bfs_platform.train.plan.machines import machine
from bfs_platform.train.plan.plan import make_plan
from bfs_platform.train.spec import TrainSpec


@pytest.fixture(scope="module")
def base() -> demand.Base:
    """The tiny geometry's configurations."""
    parts = random_components(TINY)
    plain = {name: {k: v for k, v in parts[name].config.items() if not k.startswith("_")} for name in ("vae", "transformer")}
    return demand.Base(plain["vae"], plain["transformer"], TINY.window_size, TINY.text_tokens)


def spec_of(recipe: str, *changes: str) -> TrainSpec:
    return resolve(recipe, [*changes], TrainSpec)


def test_a_vae_in_numbers(base: demand.Base) -> None:
    """Parameters, FLOP and kept bytes of the RGBA VAE on shapes are to the last one those of the same step on random
    numbers, and in bfloat16 its bytes are to a thousandth."""
    vae = AutoencoderKL(**{**base.vae, "in_channels": 4, "out_channels": 4})
    module = RgbaVaeModule(vae, AutoencoderKL(**base.vae), RgbaVaeSpec())
    given = torch.rand(1, 4, base.side, base.side), torch.randn(1, *base.latents), torch.zeros(1, 1, 1, 1)
    real = counted(module, lambda: module(*given)[0], whole=module)
    assert demand.demand(spec_of("tabletop_rgba_vae"), base) == real
    assert real.trainable_params == sum(p.numel() for p in vae.parameters()) and real.kept_bytes > 0
    half = kept_bytes(lambda: module(*given)[0], bf16=True)
    assert demand.demand(spec_of("tabletop_rgba_vae", "autocast=true"), base).kept_bytes == pytest.approx(half, rel=1e-3)
    assert half < 0.9 * real.kept_bytes


@pytest.mark.parametrize("recipe", ["tabletop_backbone", "tabletop_shadow"])
def test_blocks_of_a_kind_are_alike(recipe: str, base: demand.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer of three and four blocks is what its first blocks foretell, to the last parameter and FLOP."""
    deep = replace(base, transformer={**base.transformer, "num_layers": 3, "num_single_layers": 4})
    foretold = demand.demand(spec_of(recipe), deep)
    monkeypatch.setattr(demand, "_at_depth", lambda count, whole: count(whole))
    assert vars(demand.demand(spec_of(recipe), deep)) == pytest.approx(vars(foretold), rel=1e-12)


def test_what_is_computed_again_is_counted(base: demand.Base) -> None:
    """With checkpointing the shadow network takes more FLOP and keeps less; its LoRA alone is trained."""
    plain, again = (demand.demand(spec_of("tabletop_shadow", f"gradient_checkpointing={on}"), base) for on in ("false", "true"))
    assert 1.2 * plain.flops < again.flops < 1.6 * plain.flops and again.kept_bytes < plain.kept_bytes
    assert plain.trainable_params == again.trainable_params < 0.2 * plain.base_params
    assert plain.block_weights < plain.base_params and plain.whole_params > 0


def test_every_network_has_an_answer(base: demand.Base) -> None:
    """Each fits an H100 at tiny widths; the one that takes seconds is named, and so is what would fit."""
    for recipe in (
        "tabletop_rgb_vae",
        "tabletop_rgba_vae",
        "tabletop_compositor",
        "tabletop_backbone",
        "tabletop_reference",
        "tabletop_shadow",
    ):
        made = make_plan(spec_of(recipe), demand.demand(spec_of(recipe), base), machine("H100"), 1, 1)
        assert 0 < made.memory.total < 4 * 2**30 and made.step_s > 0 and made.checkpoint_bytes > 0
    with pytest.raises(BadInput, match="takes seconds anywhere; plan a recipe of a stage, or of rgb_vae, rgba_vae"):
        demand.demand(spec_of("tabletop_recogniser"), base)
    spec = spec_of("tabletop_rgba_vae", "network.crop=512", "micro_batch_size=16")
    large = demand.demand(spec, demand.flux(512))
    with pytest.raises(BadInput, match=r"use --set micro_batch_size=1 \(\d+\.\d GiB\)"):
        make_plan(spec, large, machine("RTX4090"), 1, 1)
    with pytest.raises(BadInput, match=r"a smaller network\.crop"):
        make_plan(spec, replace(large, kept_bytes=1e12), machine("RTX4090"), 1, 1)


def test_an_optimizer_s_state_is_counted(base: demand.Base) -> None:
    """Per weight: eight bytes of AdamW's moments, two and their scales in eight bits, sixteen of Prodigy, and four of the masters."""
    found: dict[str, Any] = {}
    for kind, lr in (("adamw", 1e-4), ("adamw8bit", 1e-4), ("prodigy", 1)):
        spec = spec_of("tabletop_backbone", f"optimizer.kind={kind}", f"optimizer.lr={lr}")
        d = demand.demand(spec, base)
        found[kind] = (
            cost.memory_per_worker(d, spec, 1, 1).optimizer / d.trainable_params,
            cost.checkpoint_bytes(d, spec) / d.trainable_params,
        )
    assert found == {"adamw": (12, 12), "adamw8bit": (6.03125, 6.03125), "prodigy": (20, 20)}


def test_the_command() -> None:
    """`bfs train plan` of a VAE on FLUX.1-Fill, as JSON."""
    done = CliRunner().invoke(app, ["train", "plan", "flux_compositor", "--gpu", "H100", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["memory"]["total"] < facts["memory_limit_bytes"] and facts["world_size"] == 8
