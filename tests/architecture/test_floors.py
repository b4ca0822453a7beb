"""Imports go down only: jobs | bfs_serve → bfs_platform → bfs_model."""

import subprocess
import sys

import pytest
from linting import lint_imports
from sources import PACKAGES, ROOT, imports, parsed, python_files, shown

# What bfs_model may import. Some only inside functions: psd_tools when a PSD is written, torchao and bitsandbytes when weights are rounded.
# tokenizers is a part of transformers.
ALLOWED_BELOW = {"bfs_model", "torch", "diffusers", "transformers", "tokenizers", "peft", "safetensors", "numpy", "PIL"}
ALLOWED_IN_FUNCTIONS = {"bitsandbytes", "psd_tools", "torchao"}
# Shape annotations are optional: one file imports them and does without where they are missing.
ALLOWED_IN_FILE = {"bfs_model/shapes.py": {"jaxtyping"}}


def test_the_floors_hold(copied, bare_env) -> None:
    """import-linter finds every contract kept."""
    result = lint_imports(copied, bare_env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("package", "line", "contract"),
    [
        ("bfs_model", "import bfs_platform", "Imports go down only"),
        ("bfs_model", "def f():\n    import bfs_serve", "Imports go down only"),
        ("bfs_platform", "import bfs_serve", "Imports go down only"),
        ("bfs_model", "def f():\n    from ray import data", "bfs_model knows no Ray"),
        ("bfs_model", "import pydantic", "bfs_model knows no Ray"),
        ("bfs_platform", "from fastapi import FastAPI", "bfs_platform serves no HTTP"),
    ],
)
def test_a_violation_is_caught(copied, bare_env, package, line, contract) -> None:
    """import-linter breaks the right contract for a planted import, also inside a function."""
    planted = copied / PACKAGES[package].relative_to(ROOT) / "planted.py"
    planted.write_text(line + "\n")
    result = lint_imports(copied, bare_env)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [row for row in result.stdout.splitlines() if row.endswith("BROKEN") and not row.startswith("Rooms of")]
    assert [contract in row for row in broken] == [True], result.stdout


def test_ruff_catches_a_violation_too(copied, bare_env) -> None:
    """ruff refuses Ray in bfs_model and accepts it in bfs_platform."""
    for package in ("bfs_model", "bfs_platform"):
        (copied / PACKAGES[package].relative_to(ROOT) / "planted.py").write_text('"""Planted."""\n\nimport ray\n\nray.init()\n')
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--output-format", "concise", "."]
    result = subprocess.run(command, cwd=copied, env=bare_env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stdout + result.stderr
    found = [row for row in result.stdout.splitlines() if "TID251" in row]
    assert [row.split(":")[0] for row in found] == ["bfs_model/planted.py"]


def test_bfs_model_imports_only_its_few_libraries() -> None:
    """Nothing but torch, diffusers, transformers, peft, safetensors, numpy, Pillow and, lazily, psd-tools."""
    wrong = []
    for path in python_files(PACKAGES["bfs_model"]):
        allowed = ALLOWED_BELOW | sys.stdlib_module_names | ALLOWED_IN_FILE.get(shown(path), set())
        for name, statement in imports(parsed(path)):
            top = name.split(".")[0]
            lazy = statement not in parsed(path).body
            if top not in allowed and not (lazy and top in ALLOWED_IN_FUNCTIONS):
                wrong.append(f"{shown(path)}:{statement.lineno} {name}")
    assert wrong == []


def test_jobs_import_only_the_floors_below() -> None:
    """A job composes rooms of bfs_platform and bfs_model; it needs no library of its own and knows no other job."""
    allowed = sys.stdlib_module_names | {"bfs_platform", "bfs_model"}
    jobs = python_files(ROOT / "jobs")
    assert jobs, "there are jobs"
    assert [f"{shown(p)}: {name}" for p in jobs for name, _ in imports(parsed(p)) if name.split(".")[0] not in allowed] == []
