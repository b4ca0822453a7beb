"""The tools: one lock for everyone, one obvious command."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sources import ROOT

TARGETS = ["setup", "demo", "up", "down", "test", "check", "bench", "soak", "clean", "lock"]


def _locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lock_is_exact_and_plain() -> None:
    """Sorted `name==version` lines after a comment that says how to regenerate them; no options, no one build's packages."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert "make lock" in "".join(lines[: len(lines) - len(pins)])
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.!]+", line)] == []
    assert list(_locked()) == sorted(_locked())
    assert [line for line in pins if re.match(r"nvidia-|cuda-|triton|torchvision|bfs=", line)] == []


def test_the_lock_covers_every_declared_dependency() -> None:
    """Each requirement in pyproject.toml is met by the version in the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [Requirement(text) for texts in (project["dependencies"], *project["optional-dependencies"].values()) for text in texts]
    locked = _locked()
    ours = [r for r in declared if r.name != "bfs"]
    unmet = [str(r) for r in ours if not r.specifier.contains(locked.get(canonicalize_name(r.name), "0"))]
    assert unmet == []


def test_the_installed_versions_are_the_locked_ones() -> None:
    """What the tests run against is what the lock says."""
    installed = {canonicalize_name(d.name): d.version.partition("+")[0] for d in metadata.distributions()}
    assert {name: (version, installed.get(name)) for name, version in _locked().items() if installed.get(name) != version} == {}


@pytest.mark.parametrize("target", TARGETS)
def test_make_targets_exist(bare_env, target) -> None:
    """Other people's scripts call these targets."""
    result = subprocess.run(["make", "-n", target], cwd=ROOT, env=bare_env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_ci_runs_the_command_of_the_readme() -> None:
    """`.ci/run` can be executed, and the README names the command that it looks for on a line of its own."""
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, timeout=60).returncode == 0
    assert re.search(r"^ *(\$ )?make test( |$)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_long_form_runs_what_takes_long(tmp_path, bare_env) -> None:
    """`.ci/long` sets up and soaks with the arguments that it is given; what it may not install is said, once for each program."""
    for name, line in {"make": f'echo "$@" >> {tmp_path}/calls', "id": "echo 1000"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    script = ROOT / ".ci/long"
    programs = re.findall(r"^bring (\S+)", script.read_text(encoding="utf-8"), re.MULTILINE)
    places = os.pathsep.join(["/usr/bin", "/bin", "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
    env = bare_env | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([script, "-k", "image"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == ["setup", "tools", "soak ARGS=-k image"]
    assert done.stderr.count("could not be installed; ") == sum(shutil.which(name, path=places) is None for name in programs)
    assert {"buildah", "debootstrap", "redis-server"} <= set(programs)


def test_an_old_python_is_told_so(bare_env) -> None:
    """On a machine with only an old Python, `make setup` says in one line what to do, and exits with 2."""
    code = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path('infra/setup.py', run_name='__main__')"
    env = bare_env | {"PATH": ""}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == "setup: python=3.9 is too old; install Python 3.11 or newer and run `make setup PYTHON=python3.11`.\n"


def test_setup_does_nothing_the_second_time(tmp_path, bare_env) -> None:
    """With a stamp of the same lock, project file, Python and place, no pip is started; with another lock, it is."""
    (tmp_path / "infra").mkdir()
    for name in ("infra/setup.py", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    fake_python = tmp_path / ".venv/bin/python"
    fake_python.parent.mkdir(parents=True)
    fake_python.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\n')
    fake_python.chmod(0o755)
    (fake_python.parent / "pip").touch()

    def pip_calls() -> int:
        command = [sys.executable, str(tmp_path / "infra/setup.py")]
        assert subprocess.run(command, env=bare_env, capture_output=True, timeout=60).returncode == 0
        return len((fake_python.parent / "calls").read_text().splitlines())

    assert [pip_calls(), pip_calls()] == [3, 3]
    with (tmp_path / "requirements.lock").open("a") as lock:
        lock.write("another==1\n")
    assert pip_calls() == 6
