"""Whether compiled blocks pay in training: a step of the dual branch, at the proxy of 512 pixels and at few tokens."""

import time
from collections.abc import Callable

import pytest
import torch
from geometry import PROXY_512, Geometry, dual_branch, inputs
from measuring import Row, circumstances, interleaved, table

from bfs_platform.train.state import compiling

pytestmark = pytest.mark.bench
FEW_TOKENS = Geometry(
    num_heads=4, num_double=2, num_single=4, side=8, num_text_tokens=16, head_dim=32, in_channels=192, text_dim=64, pooled_dim=64
)


def _step(g: Geometry, batch: int, bf16: bool, compiled: bool) -> Callable[[], None]:
    dual, given = dual_branch(g), inputs(g, batch)
    dual.sharing.requires_grad_(True)
    if compiled:
        compiling.compile_blocks(dual)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            dual(**given).square().mean().backward()
        dual.sharing.zero_grad()

    return step


# The compiler looks at gradients of what has none, and norms of bfloat16 by float32 weights are not fused: torch warns of both.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@pytest.mark.parametrize(("name", "g", "batch"), [("proxy-512", PROXY_512, 1), ("few tokens", FEW_TOKENS, 8)])
def test_compiled_blocks(name: str, g: Geometry, batch: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints CPU time with blocks compiled by time without, in float32 and in bfloat16, and what the first step costs."""
    torch.set_num_threads(1)
    rows = []
    for dtype in ("float32", "bfloat16"):
        torch._dynamo.reset()
        plain, compiled = (_step(g, batch, dtype == "bfloat16", on) for on in (False, True))
        began = time.perf_counter()
        compiled()
        first = time.perf_counter() - began
        seconds = interleaved({"plain": plain, "compiled": compiled}, rounds=4)
        rows.append(
            Row(f"compiled ÷ plain, {name}, {dtype}, {1e3 * seconds['plain']:.0f} ms a step", seconds["compiled"] / seconds["plain"])
        )
        rows.append(Row("  the first step, wall time", first, unit=" s"))
    with capsys.disabled():
        print(table("Blocks compiled one by one", rows, circumstances()))
    assert rows
