"""A command line that starts at once."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "mlflow", "diffusers", "transformers", "numpy", "PIL", "pandas")


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(bare_env, arguments) -> None:
    """No command's help imports torch, Ray, MLflow or NumPy (typer itself needs pydantic). `make bench` has the seconds."""
    code = "import atexit, sys; atexit.register(lambda: print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr))\n"
    code += "from bfs_platform.cli.main import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code, *arguments], env=bare_env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    loaded = result.stderr.strip().splitlines()[-1]
    assert "'typer'" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []
