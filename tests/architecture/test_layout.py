"""Where files may stand, and the trap under `platform/`."""

import importlib.util
import os
import subprocess
import sys

import pytest
from sources import ROOT, functions, parsed, python_files, shown


@pytest.mark.parametrize("folder", ["platform", "jobs", "serve", "infra"])
def test_folders_are_not_packages(folder) -> None:
    """`platform/__init__.py` would hide the standard library's `platform` from Ray, torch and pytest."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("arguments", [["-c"], ["-W", "error", "-c"]])
def test_platform_is_the_standard_library(bare_env, arguments) -> None:
    """From the repository's root, first on the import path, `import platform` finds the standard library's."""
    code = "import platform, sys; assert sys.path[0] == ''; print(platform.system(), platform.__file__)"
    result = subprocess.run([sys.executable, *arguments, code], cwd=ROOT, env=bare_env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert os.path.dirname(os.__file__) in result.stdout
    assert str(ROOT / "platform") not in result.stdout


def test_jobs_can_be_executed() -> None:
    """`ray job submit --working-dir . jobs/stage2.py` needs a shebang and the run bit."""
    jobs = python_files(ROOT / "jobs")
    assert jobs
    for job in jobs:
        assert job.read_text(encoding="utf-8").startswith("#!/usr/bin/env python\n"), shown(job)
        assert os.access(job, os.X_OK), shown(job)


def test_torchvision_is_absent_or_works() -> None:
    """A torchvision built for another torch breaks transformers and diffusers at import."""
    if importlib.util.find_spec("torchvision") is not None:
        result = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, f"torchvision is installed and broken, uninstall it:\n{result.stderr}"
    result = subprocess.run([sys.executable, "-c", "from transformers import CLIPTextModel"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_files_and_functions_are_small() -> None:
    """No file over 400 lines, no function over 70."""
    long = [shown(path) for path in python_files() if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    for path in python_files():
        long += [f"{shown(path)}:{f.lineno} {f.name}" for f in functions(parsed(path)) if (f.end_lineno or 0) - f.lineno >= 70]
    assert long == []
