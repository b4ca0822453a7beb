"""The tests themselves: each says what it shows, and shows it."""

import ast

from sources import ROOT, functions, parsed, python_files, shown

Test = ast.FunctionDef | ast.AsyncFunctionDef


def _tests() -> list[tuple[str, Test, dict[str, Test]]]:
    """Every test with its place and the helper functions of its file."""
    found = []
    for path in python_files(ROOT / "tests"):
        if path.name.startswith("test_"):
            by_name = {f.name: f for f in functions(parsed(path))}
            tests = [f for name, f in by_name.items() if name.startswith("test_")]
            found += [(f"{shown(path)}:{f.lineno} {f.name}", f, by_name) for f in tests]
    return found


def _asserts(function: Test, helpers: dict[str, Test], seen: frozenset[str] = frozenset()) -> bool:
    """Whether `function` asserts something: itself, through a library, or in a helper of its own file."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            if name.startswith("assert_") or ast.unparse(node.func) in ("pytest.raises", "pytest.warns", "raises"):
                return True
            if ast.unparse(node.func).startswith("expect(") and name.startswith(("to_", "not_to_")):  # Playwright's
                return True
            if name in helpers and name not in seen and _asserts(helpers[name], helpers, seen | {name}):
                return True
    return False


def test_every_test_asserts_something() -> None:
    """A test without an assertion only shows that nothing was raised."""
    assert [place for place, function, helpers in _tests() if not _asserts(function, helpers)] == []


def test_every_test_has_one_sentence() -> None:
    """The docstring of a test says what holds if it passes."""
    assert [place for place, function, _ in _tests() if not ast.get_docstring(function)] == []


def test_no_test_hides_another() -> None:
    """Two tests of one name in one file: only the second would run."""
    hidden = []
    for path in python_files(ROOT / "tests"):
        scopes = [parsed(path), *(node for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef))]
        for scope in scopes:
            names = [f.name for f in scope.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
            hidden += [f"{shown(path)} {name}" for name in {n for n in names if n.startswith("test_")} if names.count(name) > 1]
    assert hidden == []


def test_an_empty_test_would_be_found() -> None:
    """The check above tells a hollow test from one that asserts through a helper."""
    tree = ast.parse("def helper():\n    assert x\ndef test_a():\n    helper()\ndef test_b():\n    assert True\ndef test_c():\n    run()")
    tree.body += ast.parse("def test_d():\n    expect(x)\ndef test_e():\n    expect(x).to_be_visible()").body
    by_name = {f.name: f for f in functions(tree)}
    assert [name for name in by_name if name != "helper" and _asserts(by_name[name], by_name)] == ["test_a", "test_e"]
