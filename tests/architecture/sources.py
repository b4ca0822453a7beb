"""What the architecture tests read: the repository's own files, parsed once."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"bfs_model": ROOT / "bfs_model", "bfs_platform": ROOT / "platform/bfs_platform", "bfs_serve": ROOT / "serve/bfs_serve"}
FOLDERS_OF_CODE = (*PACKAGES.values(), ROOT / "jobs", ROOT / "infra", ROOT / "tests")


def python_files(*folders: Path) -> list[Path]:
    """All Python files below `folders`, sorted; of the whole repository when none is given."""
    return sorted(path for folder in folders or FOLDERS_OF_CODE for path in folder.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(package: str) -> list[str]:
    """Dotted names of all modules of one of our packages. Migrations are none: alembic runs them as files, each within its own context."""
    names = []
    for path in python_files(PACKAGES[package]):
        if "migrations" in path.parts:
            continue
        parts = [package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every imported dotted name in `tree`, also inside functions, with its statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in `tree`, methods and inner functions included."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def shown(path: Path) -> str:
    """A path as the reader of a failure wants it."""
    return path.relative_to(ROOT).as_posix()
