"""Ray reads its environment while it is imported: it is settled before, in one place, and by nobody else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sources import PACKAGES, ROOT

# Imports an entry point in a process where `ray` can be imported only after its authentication was settled.
HOOK = """
import importlib, importlib.abc, os, runpy, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "ray" and "RAY_AUTH_MODE" not in os.environ:
            raise ImportError("ray was imported before its environment was settled")

sys.meta_path.insert(0, Refuse())
entry = sys.argv[1]
if entry.endswith(".py"):
    runpy.run_path(entry, run_name="entry")
else:
    importlib.import_module(entry)
"""
ENTRIES = [
    *(f"jobs/{path.name}" for path in sorted((ROOT / "jobs").glob("*.py"))),
    *(
        "bfs_platform.cli.main",
        "bfs_platform.demo",
        "bfs_platform.jobs",
        "bfs_platform.train.launch.launch",
        "bfs_platform.data.execute.stream",
    ),
    *("bfs_serve.__main__", "bfs_serve.runtime", "bfs_serve.app", "bfs_serve.config"),
]
# Serve imports the one in processes of its own, where Ray is; the other derives from a class of Ray's, and is imported where it is used.
INSIDE_RAY = [ROOT / "platform/bfs_platform/train/launch/trainer.py", ROOT / "serve/bfs_serve/deployments.py"]


@pytest.fixture(scope="module")
def bare() -> dict[str, str]:
    """A user's shell."""
    return {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin"}


def _import(entry: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HOOK, entry]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_entry_point_imports_ray_too_early(entry: str, bare: dict[str, str]) -> None:
    """What a user starts can be imported with `ray` refused."""
    done = _import(entry, bare)
    assert done.returncode == 0, done.stderr[-1000:]


def test_the_hook_refuses(bare: dict[str, str]) -> None:
    """The hook would notice: a module that imports Ray at its top is refused, and let through where the environment is settled."""
    entry = "bfs_serve.deployments"
    assert "before its environment was settled" in _import(entry, bare).stderr
    assert _import(entry, bare | {"RAY_AUTH_MODE": "token"}).returncode == 0


def _sources() -> list[Path]:
    packages = [path for folder in PACKAGES.values() for path in folder.rglob("*.py")]
    return [*packages, *(ROOT / "jobs").glob("*.py")]


def _sets_a_variable_of_ray(tree: ast.AST) -> list[int]:
    """Lines on which a string that starts with RAY_ is a key of `os.environ` that is written, or of a mapping for a later update."""
    lines = []
    for node in ast.walk(tree):
        written: list[ast.expr | None] = []
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = node.targets if not isinstance(node, ast.AugAssign) else [node.target]
            written = [target.slice for target in targets if isinstance(target, ast.Subscript) and "environ" in ast.unparse(target.value)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "environ" in ast.unparse(node.func.value):
            changes = node.func.attr in ("setdefault", "pop", "update")
            written = [part for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Constant)] if changes else []
        lines += [part.lineno for part in written if isinstance(part, ast.Constant) and str(part.value).startswith("RAY_")]
    return lines


def test_only_one_module_sets_variables_of_ray() -> None:
    """`os.environ["RAY_…"]` is written in `cluster.environment` alone."""
    found = [f"{path.relative_to(ROOT)}:{line}" for path in _sources() for line in _sets_a_variable_of_ray(ast.parse(path.read_text()))]
    assert not found
    planted = 'os.environ["RAY_A"] = "1"\nos.environ.setdefault("RAY_B", "1")\nos.environ.update({"RAY_C": "1"})\nos.environ.get("RAY_D")'
    assert _sets_a_variable_of_ray(ast.parse(planted)) == [1, 2, 3]


def test_ray_is_imported_inside_functions() -> None:
    """No module of ours but the one that Serve loads imports Ray at its top."""

    def at_top(tree: ast.Module) -> bool:
        names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        return any(name.split(".")[0] == "ray" for name in names)

    assert sorted(path for path in _sources() if at_top(ast.parse(path.read_text()))) == INSIDE_RAY


def test_an_environment_that_comes_too_late_is_refused(bare: dict[str, str]) -> None:
    """Where Ray was imported before, nothing is set that only half of it would see."""
    code = "import ray; from bfs_platform.cluster.environment import settle_private; settle_private()"
    done = subprocess.run([sys.executable, "-c", code], env=bare, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "Ray was imported before its environment was settled (RAY_" in done.stderr
