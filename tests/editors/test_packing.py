"""The zips of the plug-ins: what is in them, and that the same sources give the same bytes."""

import io
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import bfs_model


def test_equal_sources_give_equal_bytes(plugins: ModuleType, repo_root: Path, tmp_path: Path) -> None:
    """From another folder, at another time, with files of another age and other rights, and compiled ones beside them."""
    copy = tmp_path / "elsewhere"
    for name in ("serve/krita", "serve/comfyui", "infra"):
        shutil.copytree(repo_root / name, copy / name)
    shutil.copy(repo_root / "LICENSE", copy)
    (copy / "serve/krita/bfs_krita/__pycache__").mkdir(exist_ok=True)
    (copy / "serve/krita/bfs_krita/__pycache__/x.pyc").write_bytes(b"x")
    os.utime(copy / "serve/krita/bfs_krita/docker.py", (0, 0))
    (copy / "serve/krita/bfs_krita/docker.py").chmod(0o600)
    command = [sys.executable, copy / "infra/plugins.py", "--output", tmp_path / "dist"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "dist/bfs-krita.zip").read_bytes() == plugins.krita()
    assert (tmp_path / "dist/bfs-comfyui.zip").read_bytes() == plugins.comfyui()


def test_the_zips_hold_whole_plug_ins(plugins: ModuleType) -> None:
    """Client and licence in both; the version that ComfyUI's registry is told is ours."""
    krita, comfyui = (zipfile.ZipFile(io.BytesIO(content)) for content in (plugins.krita(), plugins.comfyui()))
    assert {"bfs_krita.desktop", "bfs_krita/", "bfs_krita/__init__.py", "bfs_krita/manual.html"} <= set(krita.namelist())
    described = tomllib.loads(comfyui.read("bfs-layers/pyproject.toml").decode())
    assert described["project"]["version"] == bfs_model.__version__ and described["tool"]["comfy"]["DisplayName"]
    for archive, folder in ((krita, "bfs_krita"), (comfyui, "bfs-layers")):
        assert archive.testzip() is None
        assert {f"{folder}/service.py", f"{folder}/LICENSE"} <= set(archive.namelist())
        assert b"class Service" in archive.read(f"{folder}/service.py")
