"""The committed build is what the committed source and lock give."""

import json
import subprocess
from pathlib import Path

import pytest
from studio_build import installed

STRINGS = "serve/studio/src/strings"


def test_the_build_is_that_of_the_source(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Type checks, builds, and gives the committed files, byte for byte."""
    folder = installed(repo_root, tmp_path_factory)
    result = subprocess.run(["npm", "run", "build"], cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    built, committed = folder.parent / "bfs_serve/studio", repo_root / "serve/bfs_serve/studio"
    assert _files(built) == _files(committed)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_text_is_there_in_both_languages(repo_root: Path) -> None:
    """With the same values to fill in."""
    english, german = (json.loads((repo_root / STRINGS / f"{tag}.json").read_text(encoding="utf-8")) for tag in ("en", "de"))

    def gaps(text: str) -> list[str]:
        return sorted(part.split("}")[0] for part in text.split("{")[1:])

    assert {key: gaps(text) for key, text in english.items()} == {key: gaps(text) for key, text in german.items()}
    assert all(text.strip() for text in (*english.values(), *german.values()))
