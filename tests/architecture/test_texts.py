"""What no file of the repository may say."""

import ast
import re
import subprocess
from pathlib import Path

from sources import ROOT, functions, parsed, python_files, shown

SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".sh", ".html", ".css", ".js", ".lock", ".txt", ".cfg", ""}
FORBIDDEN = {
    # Somebody's own folder: a path from the root of a file system that other machines do not have.
    "an absolute path of one machine": re.compile(r"(?<![\w.:/$}~-])/(home|root|Users|work|mnt|srv)/[\w.]"),
    # Where packages come from is decided by the configuration of pip, apt and npm, never by us.
    "a package index": re.compile(
        r"\b(pypi|pythonhosted|npmjs|debian|ubuntu|download\.pytorch)\.(org|com)\b|--(extra-)?index-url|--find-links"
    ),
    "a local build of a package": re.compile(r"==\d[\w.]*\+(cpu|cu\d+)"),
    "unfinished work": re.compile(r"#\s*(TODO|FIXME|HACK|XXX)\b"),
}


def _texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__).resolve()]


def test_no_machine_and_no_package_index_is_named() -> None:
    """No file names one machine's folders, a package index or a local build, or announces unfinished work."""
    found = []
    texts = _texts()
    assert len(texts) > 30
    for path in texts:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            found += [f"{shown(path)}:{number} {what}: {line.strip()[:80]}" for what, pattern in FORBIDDEN.items() if pattern.search(line)]
    assert found == []


def test_the_patterns_find_what_they_name() -> None:
    """Each pattern matches an example of its fault and none of the lines that only look like one."""
    faults = {
        "an absolute path of one machine": "open('/home" + "/ada/x.png')",
        "a package index": "pip install --extra-" + "index-url x",
        "a local build of a package": "torch==2.0" + "+cpu",
        "unfinished work": "x = 1  # " + "TODO: later",
    }
    harmless = ["platform/bfs_platform/mnt/x", "https://example.org/home/x", "/v1/jobs/{id}", "~/mnt/x", "a == 1 + cpu"]
    for what, pattern in FORBIDDEN.items():
        assert pattern.search(faults[what]), what
        assert [line for line in harmless if pattern.search(line)] == []


def test_nothing_is_a_stub() -> None:
    """No function consists of `raise NotImplementedError`, `pass` or `...` unless it is a protocol's or an abstract one."""
    stubs = []
    for path in python_files():
        protocols = {
            f
            for c in ast.walk(parsed(path))
            if isinstance(c, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in c.bases)
            for f in c.body
        }
        for function in functions(parsed(path)):
            body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            abstract = any("abstractmethod" in ast.unparse(d) or "overload" in ast.unparse(d) for d in function.decorator_list)
            empty = not body or all(isinstance(s, ast.Pass) for s in body) or "NotImplementedError" in ast.unparse(body[0])
            documented = ast.get_docstring(function) is not None and not body
            if empty and len(body) < 2 and function not in protocols and not abstract and not documented:
                stubs.append(f"{shown(path)}:{function.lineno} {function.name}")
    assert stubs == []
