"""One owner per equation: the table in ARCHITECTURE.md and the docstrings agree."""

import ast
import importlib.util
import inspect
import re
from functools import reduce

from sources import PACKAGES, ROOT, functions, parsed, python_files

ROW = re.compile(r"^\|\s*(?:Eq\.\s*)?(\d+)\s*\|.*`(bfs_model\.[\w.]+)`", re.MULTILINE)


def _table() -> list[tuple[int, str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return [(int(number), name) for number, name in ROW.findall(text)]


def _resolve(name: str) -> object:
    module, *attributes = _split(name)
    return reduce(getattr, attributes, importlib.import_module(module))


def _split(name: str) -> list[str]:
    """`bfs_model.a.b.C.f` → the longest importable module, then the attributes."""
    parts = name.split(".")
    for size in range(len(parts) - 1, 0, -1):
        if importlib.util.find_spec(".".join(parts[:size])) is not None:
            return [".".join(parts[:size]), *parts[size:]]
    raise AssertionError(f"{name} names no module")


def test_every_equation_has_one_owner() -> None:
    """Equations 1 to 10 of the paper stand in the table, each once."""
    assert sorted(number for number, _ in _table()) == list(range(1, 11))


def test_owners_say_which_equation_they_are() -> None:
    """The docstring of each named object starts with `Eq. N.`."""
    for number, name in _table():
        docstring = inspect.getdoc(_resolve(name)) or ""
        assert docstring.startswith(f"Eq. {number}."), f"{name} must start with 'Eq. {number}.', it starts with {docstring[:40]!r}"


def test_no_other_public_function_claims_an_equation() -> None:
    """A public function or class whose docstring starts with `Eq. N.` is the owner in the table."""
    owners = {(number, name.rsplit(".", 1)[-1]) for number, name in _table()}
    claims = set()
    for path in python_files(PACKAGES["bfs_model"]):
        tree = parsed(path)
        nodes = [*functions(tree), *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        for node in nodes:
            match = re.match(r"Eq\. (\d+)\. ", ast.get_docstring(node) or "")
            if match:
                claims.add((int(match.group(1)), node.name))
    assert claims - owners == set()
