"""The planner counts what the model really does: parameters, FLOP and activations, held against torch."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from bfs_model.errors import BadInput
from bfs_model.latent.latents import image_ids
from bfs_model.network.dual_branch import DualBranch
from bfs_model.tiny.components import TINY, random_components
from bfs_platform.cli.main import app
from bfs_platform.config import get, resolve
from bfs_platform.train.network_spec import SharingSpec
from bfs_platform.train.plan import cost, geometry
from bfs_platform.train.plan.machines import MACHINES, machine
from bfs_platform.train.plan.plan import make_plan, predict
from bfs_platform.train.spec import TrainSpec

SETTINGS = SharingSpec(stage=1, comp_weight=0.1)
GIB = 1024**3
_CARDS = ("flux_stage1_1x80gb", "flux_stage1_1x24gb")


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """The tiny geometry with random weights."""
    return random_components(TINY)


@pytest.fixture(scope="module")
def tiny(parts: dict[str, Any]) -> geometry.Geometry:
    """Its geometry, from configurations alone."""
    return geometry.of_configs(parts["transformer"].config, parts["sharing"].config, image_tokens=64, text_tokens=TINY.text_tokens)


@pytest.fixture(scope="module")
def step(parts: dict[str, Any]) -> Any:
    """`step(batch)` runs the dual branch once on random tokens and returns a loss."""
    dual = DualBranch(parts["transformer"], parts["sharing"])
    parts["sharing"].requires_grad_(True)

    def run(batch: int) -> torch.Tensor:
        channels = 4 * TINY.latent_channels
        x, condition = torch.randn(2 * batch, 64, channels), torch.randn(batch, 64, 128)
        text = torch.randn(batch, TINY.text_tokens, TINY.text_dim), torch.randn(batch, TINY.text_dim)
        return dual(x, condition, torch.rand(batch), *text, image_ids(16, 16, torch.device("cpu"))).square().mean()

    return run


def test_parameters_are_counted_exactly(parts: dict[str, Any], tiny: geometry.Geometry) -> None:
    """Base and trainable parameters of the tiny model to the last one; FLUX.1-Fill has its published 11.9 billion."""
    assert tiny.base_params == sum(p.numel() for p in parts["transformer"].parameters())
    assert tiny.trainable_params == sum(p.numel() for p in parts["sharing"].parameters())
    assert tiny.trainable_tensors == len(list(parts["sharing"].parameters()))
    flux = geometry.flux(512, SETTINGS)
    assert flux.base_params == 11_901_408_320 + 320 * 3072  # FLUX.1-dev as published, with Fill's 384 input channels
    assert flux.image_tokens == 1024


def test_flop_agree_with_torch_s_counter(tiny: geometry.Geometry, step: Any) -> None:
    """Forward to 2 %, forward and backward to 5 %, as torch counts them operator by operator on a real step."""
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH):  # torch does not count its fused attention on a CPU
        with forward:
            loss = step(4)
        with backward:
            loss.backward()
    predicted = cost.flops_per_sample(tiny)
    assert 4 * predicted.forward == pytest.approx(forward.get_total_flops(), rel=0.02)
    assert 4 * predicted.step(recompute=False) == pytest.approx(forward.get_total_flops() + backward.get_total_flops(), rel=0.05)


def test_flop_of_flux_are_those_of_the_literature() -> None:
    """One branch of FLUX.1-Fill at 1024 px is 74.4 TFLOP; the dual branch with lean sharing at 512 px is 2.13 branches of 21.5."""
    lean = SETTINGS.model_copy(update={"rank": 64})
    assert cost.flops_per_sample(geometry.flux(512, lean)).forward == pytest.approx(45.85e12, rel=0.02)
    assert cost.flops_per_sample(geometry.flux(1024, lean)).forward == pytest.approx(177.8e12, rel=0.02)


def test_activations_agree_with_what_autograd_keeps(tiny: geometry.Geometry, step: Any) -> None:
    """Bytes of the tensors that autograd saves in a real step, each storage once, to 15 %."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step(4)
    measured = sum(kept.values())
    spec = resolve("tabletop_stage1", [], TrainSpec)
    assert loss.requires_grad
    assert cost.activation_bytes(tiny, spec, 4) == pytest.approx(measured, rel=0.15)


def test_memory_follows_the_zero_stage() -> None:
    """Stage 2 shards what belongs to the optimizer, stage 3 the frozen base as well, offload takes the optimizer away."""
    g = geometry.flux(512, SETTINGS)
    spec = resolve("flux_stage1", [], TrainSpec)
    memory = {s: cost.memory_per_worker(g, resolve("flux_stage1", [f"zero.stage={s}"], TrainSpec), 8, 4) for s in (1, 2, 3)}
    assert memory[1].base == memory[2].base == pytest.approx(8 * memory[3].base, rel=0.02)
    assert memory[1].optimizer == memory[2].optimizer == g.trainable_params * 12 / 8
    assert memory[1].gradients == 8 * memory[2].gradients
    offloaded = cost.memory_per_worker(g, resolve("flux_stage1", ["zero.offload_optimizer=true"], TrainSpec), 8, 4)
    assert offloaded.optimizer == 0 and offloaded.total < memory[2].total
    checkpointed = cost.memory_per_worker(g, resolve("flux_stage1", ["gradient_checkpointing=true"], TrainSpec), 8, 4)
    assert checkpointed.activations < 0.2 * memory[2].activations
    assert spec.zero.stage == 2


def test_more_machines_are_faster_and_cost_a_little_more() -> None:
    """From one node to four, a step gets up to four times as fast; communication makes the whole dearer."""
    g, spec = geometry.flux(512, SETTINGS), resolve("flux_stage1", [], TrainSpec)
    one, four = (make_plan(spec, g, machine("h200"), nodes, 8) for nodes in (1, 4))
    assert four.world_size == 32 and four.accumulation * four.micro_batch_size * 32 == spec.batch_size
    assert 2 < one.step_s / four.step_s < 4 and four.cost_dollars > one.cost_dollars
    assert one.days == pytest.approx(one.step_s * spec.num_steps / 86400)


def test_what_cannot_fit_is_refused_with_a_change_that_does() -> None:
    """A 24 GB card: the refusal names the bytes; with the settings that it advises, the plan is accepted."""
    g, spec = geometry.flux(1024, SETTINGS), resolve("flux_stage1", ["micro_batch_size=4"], TrainSpec)
    with pytest.raises(BadInput, match=r"micro_batch_size=4 needs \d+\.\d GiB per worker and a RTX4090 has 21\.2 GiB") as refused:
        make_plan(spec, g, machine("RTX4090"), 1, 8)
    changes = [word for word in refused.value.remedy.split(" (")[0].split() if "=" in word]
    assert "zero.stage=3" in changes
    assert make_plan(resolve("flux_stage1", changes, TrainSpec), g, machine("RTX4090"), 1, 8).memory.total < 21.2 * GIB
    with pytest.raises(BadInput, match=r"memory=nf4 .*zero\.offload_optimizer=true"):
        make_plan(spec, g, machine("RTX4090"), 1, 1)
    with pytest.raises(BadInput, match="use an accelerator with more memory"):
        make_plan(spec, geometry.flux(4096, SETTINGS), machine("RTX4090"), 1, 1)


def test_four_bits_are_counted(parts: dict[str, Any], tiny: geometry.Geometry) -> None:
    """The matrices of the blocks of the tiny model to the last one; of FLUX.1-Fill in four bits, a quarter of bfloat16 is left."""
    blocks = [*parts["transformer"].transformer_blocks, *parts["transformer"].single_transformer_blocks]
    linear = [m for block in blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
    assert tiny.block_weights == sum(m.weight.numel() for m in linear)
    whole, small = (cost.memory_per_worker(geometry.flux(512, SETTINGS), resolve(name, [], TrainSpec), 1, 1) for name in _CARDS)
    assert 0.25 < small.base / whole.base < 0.28 and small.optimizer == small.average == 0 < whole.average


def test_predictions_are_numbers_for_every_machine() -> None:
    """No machine of the table gives a nonsensical plan."""
    g, spec = geometry.flux(512, SETTINGS), resolve("flux_stage2", [], TrainSpec)
    for name in MACHINES:
        made = predict(spec, g, machine(name), 2, 8)
        assert all(math.isfinite(x) and x > 0 for x in (made.step_s, made.days, made.cost_dollars, made.memory.total))


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bfs train plan`: JSON with the numbers, and exit code 2 with one line for what cannot fit, is not planned, or is unknown."""
    runner = CliRunner()
    good = runner.invoke(app, ["train", "plan", "flux_stage1", "--gpu", "H200", "--nodes", "4", "--json"])
    assert good.exit_code == 0, good.output
    facts = json.loads(good.stdout)
    assert facts["world_size"] == 32 and facts["memory"]["total"] < facts["memory_limit_bytes"] and facts["days"] > 0
    of_itself, said = (runner.invoke(app, ["train", "plan", "tabletop_stage1", *base]).stdout for base in ((), ("--base", "tiny")))
    assert "samples/s" in said and of_itself == said
    for arguments, reason in (
        (["flux_stage1", "--gpu", "RTX4090", "--resolution", "1024"], "GiB per worker"),
        (["tabletop_recogniser"], "takes seconds anywhere"),
        (["flux_stage1", "--gpu", "H2000"], "did you mean H200?"),
        (["flux_stage1", "--resolution", "500"], "is not a multiple of 16"),
    ):
        refused = runner.invoke(app, ["train", "plan", *arguments])
        assert refused.exit_code == 2 and reason in refused.stderr and len(refused.stderr.strip().splitlines()) == 1


GUIDE = (Path(__file__).parents[4] / "docs/training.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| (\d+) × (\w+) \| (\d+) of (\d+) \| ([\d.]+) \| ([\d.]+) \|$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_command_says_what_the_table_says(row: tuple[str, ...]) -> None:
    """With the name of a recipe alone: its machines, memory, seconds and days stand in docs/training.md."""
    done = CliRunner().invoke(app, ["train", "plan", row[0], "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    held = [f"{value / 2**30:.0f}" for value in (facts["memory"]["total"], facts["memory_limit_bytes"])]
    said = (row[0], str(facts["nodes"] * facts["gpus_per_node"]), facts["gpu"], *held, f"{facts['step_s']:.2f}", f"{facts['days']:.2f}")
    assert said == row


def test_options_say_otherwise() -> None:
    """Each of them, and the others stay as the recipe has them; workers that are set are spread over as many machines as they fill."""
    for arguments, expected in (
        (["flux_stage1_1x24gb", "--gpu", "h200"], ("H200", 1, 1)),
        (["flux_stage1_64x80gb", "--gpus-per-node", "4"], ("H100", 16, 4)),
        (["flux_stage1_64x80gb", "--nodes", "2"], ("H100", 2, 8)),
        (["flux_stage1", "--set", "num_workers=12", "--set", "batch_size=24"], ("H100", 2, 6)),
        (["tabletop_stage1"], ("H200", 1, max(1, get("tabletop_stage1").num_workers))),
    ):
        facts = json.loads(CliRunner().invoke(app, ["train", "plan", *arguments, "--json"]).stdout)
        assert (facts["gpu"], facts["nodes"], facts["gpus_per_node"]) == expected
    small, large = (
        json.loads(CliRunner().invoke(app, ["train", "plan", "flux_stage1_1024", *more, "--json"]).stdout)
        for more in (["--resolution", "512"], [])
    )
    assert small["memory"]["activations"] < 0.5 * large["memory"]["activations"]
    refused = CliRunner().invoke(app, ["train", "plan", "flux_stage1", "--set", "num_workers=many"])
    assert refused.exit_code == 2 and "num_workers" in refused.stderr
