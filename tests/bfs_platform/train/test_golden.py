"""Ten steps of every objective equal the committed curves, to 1e-5."""

import json
from pathlib import Path

import golden
import pytest
from ranks import Ranks

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("name", golden.OBJECTIVES)
def test_loss_curve(name: str, ranks: Ranks, base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """The order of sums depends on the width of the processor's vectors and on library versions, and on nothing else.

    With other ones, rounding differs by 1e-7 in a step and grows over ten steps of AdamW; 1e-5 leaves room for that, and
    none for another formula, weight, draw or order of samples.
    """
    expected = json.loads((golden.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    steps = golden.curve(name, ranks, base, datasets, tmp_path / "run")
    assert [line["step"] for line in steps] == list(range(1, 11))
    for now, then in zip(steps, expected["steps"], strict=True):
        assert now.keys() == then.keys() and now.pop("data") == then.pop("data")
        assert now == pytest.approx(then, rel=1e-5), f"another curve; if that is meant, run: {golden.COMMAND} {name}"
