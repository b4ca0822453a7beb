"""Importing is free: of other floors' libraries, of files written, of connections."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from environments import brought_along
from packaging.utils import canonicalize_name
from sources import PACKAGES, ROOT, modules

# Must be among what is kept away from bfs_model; the rest of the list is worked out below.
CERTAINLY_ABOVE = {"ray", "mlflow", "deepspeed", "pydantic", "fastapi", "starlette", "typer", "rich", "mitsuba", "pymatting", "jaxtyping"}
BLOCKED = '''
import importlib, importlib.abc, json, sys
blocked, names = json.loads(sys.argv[1])
class WithoutBlocked(importlib.abc.MetaPathFinder):
    """All the usual finders, which do not find what is blocked: neither by import nor by a library's own look-up."""
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            return None
        specs = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in specs if spec is not None), None)
    def find_distributions(self, *args):
        found = (d for f in self.finders if hasattr(f, "find_distributions") for d in f.find_distributions(*args))
        return (d for d in found if d.name.lower().replace("-", "_") not in blocked)
sys.meta_path[:] = [WithoutBlocked(list(sys.meta_path))]
for name in names:
    importlib.import_module(name)
import bfs_model
for name in bfs_model.__all__:
    getattr(bfs_model, name)
print(len(names))
'''
WATCHED = """
import importlib, json, os, sys
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
DISK = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree", "shutil.copyfile"}
seen = []
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & WRITES and os.fspath(args[0]) != os.devnull:
        seen.append(f"{current}: writes {args[0]}")
    elif event in DISK and "torchinductor_" not in str(args[0]):  # torch makes its own cache folder when diffusers imports it
        seen.append(f"{current}: {event} {args[0]}")
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        seen.append(f"{current}: {event} {args[1:]}")
current = "start"
sys.addaudithook(hook)
for current in json.loads(sys.argv[1]):
    importlib.import_module(current)
print(json.dumps(seen))
"""


def _run(code: str, argument: object, env: dict[str, str]) -> str:
    command = [sys.executable, "-B", "-W", "ignore", "-c", code, json.dumps(argument)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.strip().splitlines()[-1]


def _modules_above() -> set[str]:
    """Top-level modules that are absent where only plain `bfs` is installed, and those that bfs_model must not need."""
    core = brought_along(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])
    installed = metadata.packages_distributions()
    above = {module for module, owners in installed.items() if not core & {canonicalize_name(owner) for owner in owners}}
    return (above | CERTAINLY_ABOVE | {"bfs_platform", "bfs_serve"}) - {"bfs_model"}


def test_bfs_model_imports_alone(bare_env) -> None:
    """Every module of bfs_model and all its public names import on a machine without the other floors' libraries."""
    names = modules("bfs_model")
    assert len(names) > 10
    assert {"psd_tools", "pyarrow", "beartype", "scipy"} <= _modules_above()
    assert _run(BLOCKED, [sorted(_modules_above()), names], bare_env) == str(len(names))


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_touches_neither_disk_nor_network(bare_env, tmp_path, package) -> None:
    """No module of ours writes a file, makes a folder or opens a connection while it is imported."""
    names = modules(package)
    # Libraries may fill their caches; whatever they write goes to a home of its own and is not ours to forbid.
    env = bare_env | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    seen = json.loads(_run(WATCHED, names, env))
    assert [line for line in seen if str(tmp_path) not in line] == []
