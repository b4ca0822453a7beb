"""The arms of the benches compute the same thing, so that their times may be compared; the accelerator program runs."""

import json

import accelerator
import accelerator_rows
import pytest
import torch
from arithmetic import dual as dual_flops
from geometry import SMALL, dual_branch, inputs, plain_pass, same_weights
from measuring import Row, num_flops
from recomputing import use_recomputing

from bfs_platform.train.state.kernels import KERNELS


@torch.no_grad()
def test_reuse_equals_recomputation() -> None:
    """Reused projections, stacked LoRAs and one attention call give what the plain reference gives, to 1e-5."""
    given = inputs(SMALL, batch=2)
    dual = dual_branch(SMALL)
    fast = dual(**given, guidance=30.0)
    plain = use_recomputing(dual)(**given, guidance=30.0)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    dual.eject()
    silent = plain_pass(dual.transformer, given, (0, 1))
    assert (fast - silent).abs().max() > 1e-3


@torch.no_grad()
def test_a_plain_pass_shares_the_storage_of_the_base() -> None:
    """The single-branch arm is the same base: no second copy, and one pass over both branches is two passes."""
    dual = dual_branch(SMALL)
    single = same_weights(dual.transformer)
    assert {p.data_ptr() for p in single.parameters()} == {p.data_ptr() for p in dual.transformer.parameters()}
    given = inputs(SMALL)
    both = plain_pass(single, given, (0, 1))
    torch.testing.assert_close(both, torch.cat([plain_pass(single, given, (b,)) for b in (0, 1)]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_arithmetic_is_what_torch_counts() -> None:
    """The formula for a dual step is below torch's count by embedders and modulation alone, which grow with no token."""
    dual, given = dual_branch(SMALL), inputs(SMALL)
    counted = num_flops(lambda: dual(**given))
    d, g = SMALL.dim, SMALL
    embedders = 2 * 2 * d * (g.num_image_tokens * (g.in_channels + 64) + g.num_text_tokens * g.text_dim)
    vectors = 2 * d * (2 * 256 + 2 * d + g.pooled_dim + d)
    modulation = 2 * d * d * (12 * g.num_double + 3 * g.num_single + 2)
    assert counted == pytest.approx(dual_flops(g) + embedders + vectors + modulation, rel=1e-6)


def test_a_row_says_whether_its_target_is_met() -> None:
    """A row holds the number, the prediction, the target and the verdict."""
    assert str(Row("a", 2.5, 2.1, 2.2)).endswith("| 2.500 | 2.100 | ≤ 2.20 | MISSED |")
    assert str(Row("b", 3.0, None, 2.0, at_least=True)).endswith("| ≥ 2.00 | met |")


def test_the_accelerator_program_runs_on_this_machine(capsys, monkeypatch) -> None:
    """At a small geometry it prints every figure that it prints on an accelerator, but for the compiled one, which takes a compiler."""
    monkeypatch.setattr(accelerator_rows, "compiled", lambda *_: {})
    accelerator.main(["--geometry", "small", "--device", "cpu", "--dtype", "float32", "--rounds", "1", "--all", "--json"])
    (figures,) = json.loads(capsys.readouterr().out)["figures"]
    assert figures["geometry"] == "small" and min(figures["dual_step_ms"], figures["single_step_ms"]) > 0
    rows = {name: value for name, value in figures.items() if ", " in name}
    assert len(rows) == len(KERNELS) + len(accelerator_rows.BACKENDS) + len(accelerator_rows.CACHES)
    assert rows["dual_step_ms, kernel math"] > 0 and rows["ms_per_8_steps, cache taylorseer"] > 0
    assert all(value.startswith("not here: ") for value in rows.values() if isinstance(value, str))
    assert {"ratio", "tflops_per_s", "floor_ms", "times_floor", "peak_memory_bytes", "training_pairs_per_s"} <= set(figures)
