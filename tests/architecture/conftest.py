"""Lets these tests share their helpers, whichever of them is run, and plant faults in a copy of the packages."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sources import PACKAGES, ROOT


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the three packages and of the configuration, to plant violations in."""
    for name, folder in PACKAGES.items():
        shutil.copytree(folder, tmp_path / folder.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__", "bundles"))
        assert (tmp_path / folder.relative_to(ROOT) / "__init__.py").exists(), name
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path
