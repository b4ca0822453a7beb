"""The arms of the benches compute the same thing, so that their times may be compared; the accelerator program runs."""

import gc
import json
import weakref

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
    assert figures["training_activations"] == "kept"


SMALL_RUN = ("--geometry", "small", "--device", "cpu", "--dtype", "float32", "--rounds", "1")


def test_training_recomputes_activations_from_1024_pixels_on(capsys, monkeypatch) -> None:
    """All of them would not fit 80 GB: there each block runs once more in the backward pass."""
    options = accelerator._parser().parse_args([])
    assert [name for name, g in accelerator.GEOMETRIES.items() if accelerator.recomputes(g, options)] == ["flux-fill-1024"]
    passes = {}
    for limit in (accelerator.RECOMPUTED_FROM, SMALL.num_image_tokens):
        ran, block = [], accelerator.dual_branch(SMALL).transformer.single_transformer_blocks[0]
        forward = type(block).forward
        with monkeypatch.context() as patch:
            patch.setattr(type(block), "forward", lambda self, *a, _f=forward, _r=ran, **k: (_r.append(1), _f(self, *a, **k))[1])
            patch.setattr(accelerator, "RECOMPUTED_FROM", limit)
            accelerator.main([*SMALL_RUN, "--json"])
        (figures,) = json.loads(capsys.readouterr().out)["figures"]
        passes[figures["training_activations"]] = len(ran)
    # Two steps of training: a warm-up and one that counts.
    assert passes["recomputed"] == passes["kept"] + 2


def test_a_row_that_fails_costs_no_other(capsys, monkeypatch) -> None:
    """Where training does not fit, its rows say so; those before were printed by then, and those behind are measured."""
    printed = []

    def no_room(*_: object, **__: object) -> None:
        printed.append(capsys.readouterr().out)
        raise RuntimeError("CUDA out of memory.\nTried to allocate much")

    monkeypatch.setattr(torch.optim, "AdamW", no_room)
    monkeypatch.setattr(accelerator_rows, "compiled", lambda *_: {"dual_step_ms, compiled": 7.0})
    accelerator.main([*SMALL_RUN, "--all"])
    after = capsys.readouterr().out
    assert "dual_step_ms" in printed[0] and "cache taylorseer" in printed[0] and "training" not in printed[0]
    assert after.count("not here: CUDA out of memory.\n") == len(accelerator.TRAINING)
    assert after.endswith(f"  {'dual_step_ms, compiled':<28} 7.000\n")


def test_a_geometry_that_fails_costs_no_other(capsys, monkeypatch) -> None:
    """Not even where its network cannot be made; and what an earlier one held was given back before, without the collector's own doing."""
    alive, made = [], accelerator.dual_branch

    def only_the_first(*arguments: object) -> object:
        if alive:
            assert alive[0]() is None
            raise RuntimeError("CUDA out of memory.")
        alive.append(weakref.ref((dual := made(*arguments)).transformer))
        return dual

    monkeypatch.setattr(accelerator, "dual_branch", only_the_first)
    gc.disable()
    try:
        accelerator.main([*SMALL_RUN, "--geometry", "small", "--json"])
    finally:
        gc.enable()
    first, second = json.loads(capsys.readouterr().out)["figures"]
    assert first["training_pairs_per_s"] > 0 and set(second) == {"geometry", *accelerator.INFERENCE, *accelerator.TRAINING}
    assert second["dual_step_ms"] == "not here: CUDA out of memory."


def test_behind_the_limit_rows_are_named_and_not_measured(capsys, tmp_path) -> None:
    """Every row that was asked for stands there, at once; of itself the program ends within ten minutes."""
    assert accelerator._parser().parse_args([]).limit_s == 540
    accelerator.main([*SMALL_RUN, "--all", "--json", "--profile", str(tmp_path), "--limit-s", "0"])
    (figures,) = json.loads(capsys.readouterr().out)["figures"]
    assert {*accelerator.INFERENCE, *accelerator.TRAINING, "profile", "dual_step_ms, compiled"} <= figures.keys()
    measured = [value for value in figures.values() if not str(value).startswith(("not measured: the 0 s", "not here: "))]
    assert measured == ["small"] and not any(tmp_path.iterdir())
