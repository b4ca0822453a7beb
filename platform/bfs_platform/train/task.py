"""What the loop asks of a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL import Image


class Task(Protocol):
    """One network in training. All methods are pure functions of their arguments and the specification."""

    module: nn.Module
    """Returns (loss, terms) when called with what `batch` returns. Exactly its trainable parameters are optimised."""

    groups: Mapping[str, Sequence[np.ndarray]]
    """Rows of each data set, by the size of their pictures: those of a batch are of one (`batches.by_size`)."""

    def data(self, step: int) -> str:
        """Which data set the batch of `step` comes from: the same on every rank."""

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        """Sample ids, and the arguments of `module`, for these rows of a data set."""

    def samples(self, weights: dict[str, Tensor]) -> dict[str, "Image.Image"]:
        """Pictures of the network at work on fixed probes, by name."""

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        """Write the trained network below `output` and return the path of its manifest."""
