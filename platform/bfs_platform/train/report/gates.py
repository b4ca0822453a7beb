"""What a trained network must show on records that it was not trained on: figures, gates, and how they are told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import bundle

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset

VALIDATION = "validation"


@dataclass(frozen=True)
class Gate:
    """A bound on one figure."""

    limit: float
    at_least: bool

    def passed(self, value: float) -> bool:
        """Whether `value` keeps the bound; NaN does not."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class GateReport:
    """Figures of a trained network, which of them are bounded, and the records they were measured on."""

    measured_on: str
    num_records: int
    figures: Mapping[str, float]
    gates: Mapping[str, Gate]

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed(self.figures[name]) for name, gate in self.gates.items())

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest of the result."""
        gates = {
            name: {"at_least" if gate.at_least else "at_most": gate.limit, "passed": gate.passed(self.figures[name])}
            for name, gate in self.gates.items()
        }
        about = {"measured_on": self.measured_on, "num_records": self.num_records, "passed": self.passed}
        return {**about, "figures": {name: round(value, 6) for name, value in self.figures.items()}, "gates": gates}

    def lines(self) -> list[str]:
        """One line per figure, for people."""
        out = [f"measured on {self.num_records} records: {self.measured_on}"]
        for name, value in self.figures.items():
            gate = self.gates.get(name)
            bound = (
                "" if gate is None else f"  ({'at least' if gate.at_least else 'at most'} {gate.limit:g}: {_verdict(gate.passed(value))})"
            )
            out.append(f"  {name} {value:.4g}{bound}")
        return out


@runtime_checkable
class Gated(Protocol):
    """A task that measures its trained network."""

    def measure(self, weights: dict[str, Tensor]) -> GateReport:
        """Figures of the network with these weights on held-out records."""


@dataclass(frozen=True)
class HeldOut:
    """Records that a network is measured on and never trained on."""

    dataset: "Dataset"
    rows: np.ndarray
    name: str

    def batches(self, size: int = 16) -> Iterator[np.ndarray]:
        """Rows, at most `size` together, all of one resolution."""
        for bucket in self.dataset.buckets().values():
            mine = bucket[np.isin(bucket, self.rows)]
            yield from (mine[i : i + size] for i in range(0, len(mine), size))


def hold_out(datasets: "Mapping[str, Dataset]", name: str, count: int) -> tuple[int, HeldOut]:
    """How many records of the set `name` may be trained on, and what is held out.

    The validation set's first `count` records where one is given; otherwise the last `count` records of the training set, at
    most a tenth of it. Raises `BadInput` for a set of one record.
    """
    training = datasets[name]
    if VALIDATION in datasets:
        given = datasets[VALIDATION]
        return len(training), HeldOut(given, np.arange(min(count, len(given))), f"validation set {given.content_hash[:12]}")
    if len(training) < 2:
        raise BadInput("dataset", training.root, "holds too few records to hold one out", "build a larger one or give --validation")
    kept = len(training) - min(count, max(1, len(training) // 10))
    return kept, HeldOut(training, np.arange(kept, len(training)), f"the last records of the {name} set, not trained on")


def reports_of(base: str) -> dict[str, Any]:
    """What earlier runs reported about the parts of a bundle or model, by network."""
    folder = bundle.locate(base)
    if not (folder / integrity.MANIFEST).exists():
        return {}  # a folder that another program wrote
    return dict(integrity.read_manifest(folder)["body"].get("gates", {}))


def _verdict(passed: bool) -> str:
    return "passed" if passed else "FAILED"
