"""The studio's source with its locked packages, apart from the repository."""

import shutil
import subprocess
from pathlib import Path

import pytest

_installed: dict[Path, Path] = {}


def installed(root: Path, folders: pytest.TempPathFactory) -> Path:
    """A copy of `serve/studio` after `npm ci`, made once per run. Skips where there is no Node, or no registry to be reached."""
    if root in _installed:
        return _installed[root]
    if shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    folder = folders.mktemp("node") / "serve/studio"
    shutil.copytree(root / "serve/studio", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if "ENOTFOUND" in result.stderr or "ECONNREFUSED" in result.stderr or "EAI_AGAIN" in result.stderr or "ETIMEDOUT" in result.stderr:
        pytest.skip("npm reaches no registry")
    assert result.returncode == 0, result.stderr
    _installed[root] = folder
    return folder
