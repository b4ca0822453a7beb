"""What a dual step costs, in ratios of one process at the 512-pixel proxy: CPU time of one thread, interleaved arms, minima."""

from collections.abc import Callable, Iterator
from typing import Any

import arithmetic
import pytest
import torch
from geometry import FLUX_FILL_512, PROXY_512, Geometry, dual_branch, inputs, plain_pass, same_weights
from measuring import Row, circumstances, interleaved, num_flops, table
from recomputing import use_recomputing

pytestmark = pytest.mark.bench
ROUNDS = 4


@pytest.fixture
def one_thread() -> Iterator[None]:
    """CPU time of one thread is comparable on a shared machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _without_grad(work: Callable[[], Any]) -> Callable[[], Any]:
    return torch.no_grad()(work)


def _arms(g: Geometry) -> dict[str, Callable[[], Any]]:
    dual, given = dual_branch(g), inputs(g)
    single = same_weights(dual.transformer)
    recompute = use_recomputing(type(dual)(same_weights(dual.transformer), dual.sharing))

    def training_step() -> None:
        dual(**given).square().mean().backward()
        dual.sharing.zero_grad()

    return {
        "single": _without_grad(lambda: plain_pass(single, given)),
        "two": _without_grad(lambda: [plain_pass(single, given, (b,)) for b in (0, 1)]),
        "dual": _without_grad(lambda: dual(**given, guidance=30.0)),
        "recompute": _without_grad(lambda: recompute(**given, guidance=30.0)),
        "training": training_step,
    }


def test_step(one_thread, capsys) -> None:
    """Prints each ratio beside the one of floating point operations, and which targets are met."""
    arms = _arms(PROXY_512)
    flops = {name: num_flops(arm) for name, arm in arms.items()}
    seconds = interleaved(arms, ROUNDS)

    def row(what: str, above: str, below: str, target: float) -> Row:
        return Row(what, seconds[above] / seconds[below], flops[above] / flops[below], target)

    g, full = PROXY_512, FLUX_FILL_512
    rows = [
        row("dual step ÷ single Flux step", "dual", "single", 2.20),
        row("dual step ÷ two sequential passes", "dual", "two", 1.10),
        row("reuse ÷ recompute", "dual", "recompute", 0.90),
        row("(forward + backward) ÷ forward, base frozen", "training", "dual", 2.25),
        Row("bytes of frozen parameters ÷ one base copy", _frozen_share(g), 1.0, 1.0),
        Row("time of a single step", seconds["single"], unit=" s"),
        Row("rate of a dual step", flops["dual"] / seconds["dual"] / 1e9, unit=" GFLOP/s"),
        Row("full size, 512 px, on paper: dual ÷ single", arithmetic.dual(full) / arithmetic.branch(full)),
    ]
    with capsys.disabled():
        print(table(f"One step at d={g.dim}, N={g.num_image_tokens}, T={g.num_text_tokens}", rows, circumstances()))
    assert seconds["single"] > 0


def _frozen_share(g: Geometry) -> float:
    """Bytes of distinct storage under all frozen parameters of a dual branch, by those of a transformer alone."""
    dual = dual_branch(g)
    frozen = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in dual.parameters() if not p.requires_grad}
    return sum(frozen.values()) / sum(p.numel() * p.element_size() for p in dual.transformer.parameters())
