"""The rooms of the packages: small, described, placed, and without circles."""

import ast
import tomllib
from statistics import median

import grimp
import pytest
from linting import lint_imports
from sources import PACKAGES, ROOT, parsed, python_files, shown

MAX_MODULES = 14
MAX_LINES = 400
MEDIAN_LINES = 120

CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
ROOMS = [contract for contract in CONFIGURATION["contracts"] if contract["type"] == "layers" and "containers" in contract]


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Modules that import each other, directly or through others: strongly connected components of more than one (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if imported not in number:
                visit(imported)
            if imported in path:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == number[module]:
            members = path[path.index(module) :]
            del path[path.index(module) :]
            if len(members) > 1:
                found.append(sorted(members))

    for module in sorted(graph.modules):
        if module not in number:
            visit(module)
    return found


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports between our modules; grimp reads whole files, functions and `if TYPE_CHECKING` included."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_no_modules_import_each_other(graph) -> None:
    """There is no circle of imports, not even one that an import inside a function hides."""
    assert len(graph.modules) > 300
    assert circles(graph) == []


def test_a_circle_would_be_found(tmp_path, monkeypatch) -> None:
    """Two modules that import each other inside functions are a circle to the check above."""
    (tmp_path / "house").mkdir()
    (tmp_path / "house/__init__.py").touch()
    (tmp_path / "house/one.py").write_text("def f():\n    from house import two\n    return two\n")
    (tmp_path / "house/two.py").write_text("def f():\n    import house.one\n    return house\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert circles(grimp.build_graph("house", cache_dir=None)) == [["house.one", "house.two"]]


def test_every_package_and_every_large_room_has_its_order() -> None:
    """Each package and each room that holds rooms has one exhaustive contract."""
    nested = {
        ".".join((name, *folder.parent.relative_to(top).parts))
        for name, top in PACKAGES.items()
        for folder in top.rglob("__init__.py")
        if any(child.is_dir() and (child / "__init__.py").exists() for child in folder.parent.iterdir())
    }
    placed = [container for contract in ROOMS for container in contract["containers"]]
    assert [contract["name"] for contract in ROOMS if not contract.get("exhaustive")] == []
    # The commands of `bfs` stand above the rest of their room and are imported by `main` alone: nothing to order.
    assert sorted(placed) == sorted(nested - {"bfs_platform.cli"})


def test_imports_that_go_up_break_their_contract(copied, bare_env) -> None:
    """In every room order, an import from the lowest room to the highest is caught, inside a function too."""
    for contract in ROOMS:
        (container,) = contract["containers"]
        top = contract["layers"][0].split(" | ")[0]
        low = contract["layers"][-1].split(" | ")[0]
        folder = copied / PACKAGES[container.split(".")[0]].relative_to(ROOT) / "/".join(container.split(".")[1:])
        file = folder / low / "planted.py" if (folder / low).is_dir() else folder / f"{low}.py"
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(f"{before}\n\ndef planted():\n    import {container}.{top}\n", encoding="utf-8")
    result = lint_imports(copied, bare_env)
    assert result.returncode == 1, result.stdout + result.stderr
    assert _broken(result.stdout) == {contract["name"] for contract in ROOMS}, result.stdout


def test_a_room_that_nobody_placed_breaks_its_contract(copied, bare_env) -> None:
    """A new folder or module in any order must be given its place."""
    for contract in ROOMS:
        (container,) = contract["containers"]
        folder = copied / PACKAGES[container.split(".")[0]].relative_to(ROOT) / "/".join(container.split(".")[1:])
        (folder / "planted").mkdir()
        (folder / "planted/__init__.py").write_text('"""Planted."""\n')
    result = lint_imports(copied, bare_env)
    assert result.returncode == 1, result.stdout + result.stderr
    assert all(f"{contract['containers'][0]}.planted" in result.stdout for contract in ROOMS), result.stdout + result.stderr


def _broken(output: str) -> set[str]:
    return {row.removesuffix(" BROKEN") for row in output.splitlines() if row.endswith(" BROKEN")}


def test_a_folder_can_be_read_at_a_glance() -> None:
    """At most fourteen modules beside the subfolders, in every folder of the packages."""
    crowded = {}
    for top in PACKAGES.values():
        for folder in {path.parent for path in python_files(top)}:
            number = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
            if number > MAX_MODULES:
                crowded[shown(folder)] = number
    assert crowded == {}


def test_files_are_small() -> None:
    """No file of the repository has more than 400 lines, and half of the packages' modules have at most 120."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {shown(path): number for path, number in lines.items() if number > MAX_LINES} == {}
    assert median(lines[path] for path in python_files(*PACKAGES.values()) if path.name != "__init__.py") <= MEDIAN_LINES


def test_every_room_says_what_it_is() -> None:
    """Each folder's docstring is a paragraph: what belongs there, what does not, and what it stands on."""
    silent = []
    for top in PACKAGES.values():
        for path in top.rglob("__init__.py"):
            text = ast.get_docstring(parsed(path)) or ""
            if path.parent != top and not (len(text.split()) >= 20 and text.count(".") >= 2):
                silent.append(shown(path.parent))
    assert silent == []
