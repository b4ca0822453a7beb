"""A bundle and both training sets, small: random weights, drawn pictures, real encoders; and workers without Ray."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training
from ranks import Ranks


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle."""
    return training.write_base(tmp_path_factory.mktemp("base") / "bundle")


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[int, Path]:
    """A stage-1 and a stage-2 set of drawn squares, by stage."""
    root = tmp_path_factory.mktemp("sets")
    return {stage: training.write_set(root / f"stage{stage}", stage, base) for stage in (1, 2)}


@pytest.fixture(scope="session")
def double_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in double precision: a folder that the first run fills (`double.prepare`)."""
    return tmp_path_factory.mktemp("double")


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Starts groups of workers without Ray."""
    with Ranks(tmp_path_factory.mktemp("ranks")) as starter:
        yield starter


@pytest.fixture
def configured(base: Path, datasets: dict[int, Path], tmp_path: Path) -> Any:
    """`configured(name, recipe, *changes)`: what a worker is told for a short run whose output is called `name`."""

    def make(name: str, recipe: str = "tabletop_stage2", *changes: str) -> dict[str, Any]:
        return training.config(tmp_path / name, recipe, base, datasets, changes)

    return make
