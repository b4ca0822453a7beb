"""Four layers of the embedded model alone, in twos and at once: what it costs, and whether the bytes are those of each alone."""

from collections.abc import Callable

import numpy as np
import pytest
from measuring import Row, circumstances, interleaved, table
from PIL import Image

from bfs_model import BFSPipeline

pytestmark = pytest.mark.bench

PROMPTS = ("a small blue glass cone", "a large red rubber sphere", "a small green metal cube", "a large yellow plastic cylinder")
STEPS, ROUNDS = 6, 4


def test_a_batch_against_its_layers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints time and differences, which decide whether the service draws compatible orders as one batch (`Engine.batches_exactly`)."""
    pipe = BFSPipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    ramp = np.tile(np.linspace(90, 200, 256, dtype=np.uint8), (256, 1))
    background, box = Image.fromarray(np.repeat(ramp[..., None], 3, axis=2)), (40, 60, 200, 220)
    drawn: dict[int, np.ndarray] = {}

    def by(size: int) -> Callable[[], None]:
        def draw() -> None:
            layers = []
            for first in range(0, len(PROMPTS), size):
                prompts = list(PROMPTS[first : first + size])
                seeds = list(range(first, first + size))
                out = pipe([background] * size, [box] * size, prompts, seed=seeds, num_inference_steps=STEPS)
                layers += [np.asarray(layer).astype(int) for layer in out.foregrounds]
            drawn[size] = np.stack(layers)

        return draw

    seconds = interleaved({f"{size}": by(size) for size in (1, 2, 4)}, ROUNDS)
    rows = []
    for size in (2, 4):
        differences = np.abs(drawn[size] - drawn[1])
        rows.append(Row(f"time in batches of {size} ÷ alone", seconds[f"{size}"] / seconds["1"]))
        rows.append(Row(f"largest difference in batches of {size}", float(differences.max()), target=0, unit=" levels"))
        rows.append(Row(f"layers of other bytes in batches of {size}", float((differences.reshape(4, -1).max(axis=1) > 0).sum())))
    assert all(row.measured < 100 for row in rows if row.unit == " levels")  # the same layers, whatever their last bits
    with capsys.disabled():
        print(table(f"Four layers of 256², {STEPS} steps, CPU time", rows, circumstances()))
