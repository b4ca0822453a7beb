"""Damage anywhere in a document: it is read or refused, and nothing else ever happens."""

import numpy as np
import pytest

from bfs_model.document import file as documents
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput


def small() -> LayerStack:
    stack = LayerStack.new(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))
    stack.add(np.full((3, 3, 4), [1, 2, 3, 99], np.uint8), "赤", x=-1, box=(0, 0, 2, 2), prompt="p", seed=1, model="tiny")
    return stack


def mutated(start: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(start)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(data)))
        kind = rng.integers(0, 4)
        if kind <= 1:
            data[at] = int(rng.integers(0, 256))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 40))]
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 40))]
    return bytes(data[: int(rng.integers(1, len(data)))] if rng.random() < 0.1 else data)


@pytest.mark.parametrize("suffix", [".zip", ".ora", ".psd", ".png"])
@pytest.mark.filterwarnings("ignore")  # psd-tools warns of what it repairs
def test_mutations(suffix: str) -> None:
    """Some hundred seeded mutations of each format: a stack, a manifest, or one sentence."""
    start = documents.encode(small(), suffix)
    outcomes, sentences = set(), []
    for seed in range(300):
        data = mutated(start, np.random.default_rng([ord(suffix[1]), seed]))
        for read in (documents.decode, documents.read_manifest):
            try:
                outcomes.add(type(read(data, max_pixels=10_000)).__name__)
            except BadInput as error:
                sentences.append(str(error))
    assert sentences
    assert not any("\n" in sentence for sentence in sentences)
    assert outcomes <= {"LayerStack", "dict"}
