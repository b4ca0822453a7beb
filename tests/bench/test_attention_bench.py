"""Kernels of attention, as `attention=measured` compares them at the start of a run."""

import pytest
import torch
from measuring import circumstances

from bfs_platform.train.state.kernels import Shape, measured

pytestmark = pytest.mark.bench
SHAPES = (
    Shape(32, 6, 80, 32, "float32"),
    Shape(32, 6, 80, 32, "bfloat16"),
    Shape(4, 6, 576, 64, "float32"),
    Shape(2, 2, 528, 16, "bfloat16"),
)


def test_kernels_of_attention(capsys) -> None:
    """Prints milliseconds forwards and backwards of each shape by each kernel that this machine has, on one thread; the fastest in bold."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times = {shape: measured(shape, device) for shape in SHAPES}
    kernels = list(dict.fromkeys(name for found in times.values() for name in found))
    lines = [circumstances(), "", f"| shape | {' | '.join(kernels)} |", f"| --- |{' --- |' * len(kernels)}"]
    for shape, found in times.items():
        cells = [_cell(found, name) for name in kernels]
        lines.append(
            f"| {shape.batch} × {shape.heads} heads, {shape.tokens} tokens of {shape.head_dim}, {shape.dtype} | {' | '.join(cells)} |"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert "math" in kernels and all(min(found.values()) > 0 for found in times.values())


def _cell(found: dict[str, float], kernel: str) -> str:
    if kernel not in found:
        return "cannot"
    return f"**{found[kernel]:.1f}**" if found[kernel] == min(found.values()) else f"{found[kernel]:.1f}"
