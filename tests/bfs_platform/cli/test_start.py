"""A command line that starts at once."""

import resource
import subprocess
import sys

import pytest

LIMIT_S = 0.5
HEAVY = ("torch", "ray", "mlflow", "diffusers", "transformers", "numpy", "PIL", "pandas")


def _cpu_seconds(command: list[str], env: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert "generate" in result.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick(bare_env) -> None:
    """`bfs --help` takes less than half a second of processor time (the best of three; wall time depends on the neighbours)."""
    command = [sys.executable, "-c", "from bfs_platform.cli.main import main; main()", "--help"]
    assert min(_cpu_seconds(command, bare_env) for _ in range(3)) < LIMIT_S


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(bare_env, arguments) -> None:
    """No command's help imports torch, Ray, MLflow or NumPy (typer itself needs pydantic)."""
    code = "import atexit, sys; atexit.register(lambda: print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr))\n"
    code += "from bfs_platform.cli.main import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code, *arguments], env=bare_env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    loaded = result.stderr.strip().splitlines()[-1]
    assert "'typer'" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []
