"""Recipes that exist only here."""

from typing import Literal

import pytest
from pydantic import Field, model_validator

from bfs_platform.config import Spec, recipe, registry


class OptimizerSpec(Spec):
    """A part with a range, a choice and a text."""

    lr: float = Field(default=1e-3, gt=0)
    name: Literal["adamw", "sgd"] = "adamw"
    tag: str = "none"


class RunSpec(Spec):
    """A run with a part, a mapping, an optional part and a rule over two fields."""

    seed: int = 0
    batch_size: int = 8
    num_workers: int = 2
    optimizer: OptimizerSpec = OptimizerSpec()
    second: OptimizerSpec | None = None
    weights: dict[str, float] = {"comp": 1.0, "fg": 1.0}

    @model_validator(mode="after")
    def _divisible(self) -> "RunSpec":
        if self.batch_size % self.num_workers:
            raise ValueError(f"is not divisible by {self.num_workers} workers")
        return self


@pytest.fixture
def run_spec(monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """The specification of a recipe `example_run`, registered for one test only."""
    registry.names()  # import the shipped ones first, so that they do not end up in the copy alone
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))

    @recipe
    def example_run() -> RunSpec:
        """An example."""
        return RunSpec(seed=3)

    spec = registry.get("example_run")
    assert isinstance(spec, RunSpec)
    return spec
