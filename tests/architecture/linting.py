"""import-linter on a copy of the packages."""

import subprocess
import sys
from pathlib import Path


def lint_imports(folder: Path, bare_env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages below `folder`, by the configuration there."""
    path = ":".join(str(folder / part) for part in (".", "platform", "serve"))
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]
    env = bare_env | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
