"""ag-psd, a library in JavaScript, as a reader in Node. It shares no code with psd-tools, which wrote the file."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from .seen import Seen, SeenLayer

NAME = "ag-psd"
_SOURCE = Path(__file__).with_name("ag_psd")
NODE, NPM = shutil.which("node"), shutil.which("npm")
ABSENT = None if NODE and NPM else "the programs `node` and `npm` are not installed"


def version() -> str:
    """Of the locked package."""
    lock = json.loads((_SOURCE / "package-lock.json").read_text(encoding="utf-8"))
    return str(lock["packages"]["node_modules/ag-psd"]["version"])


def read(documents: list[Path], folder: Path) -> dict[Path, Seen]:
    """All documents in one Node, with what the lock names."""
    shutil.copytree(_SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    install = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    _checked(subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300))
    command = [str(NODE), "read.js", str(folder), *map(str, documents)]
    _checked(subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300))
    return {path: _seen(folder, number) for number, path in enumerate(documents)}


def _seen(folder: Path, number: int) -> Seen:
    described: dict[str, Any] = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
    layers = []
    for position, layer in enumerate(described["layers"]):
        assert not layer["masked"], layer
        visible = not layer.get("hidden", False)
        if layer.get("group"):
            assert (layer["opacity"], layer["blendMode"], visible) == (1, "pass through", True), layer
            continue
        looks = (layer["opacity"], layer["blendMode"], visible)
        pixels = _pixels(folder / str(number) / f"{position}.rgba", layer["width"], layer["height"])
        layers.append(SeenLayer(tuple(layer["groups"]), layer["name"], *looks, layer["left"], layer["top"], pixels))
    size = described["width"], described["height"]
    return Seen(*size, layers, _pixels(folder / str(number) / "flat.rgba", *size), stored=True)


def _checked(result: "subprocess.CompletedProcess[str]") -> None:
    assert result.returncode == 0, result.stdout + result.stderr


def _pixels(path: Path, width: int, height: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(height, width, 4)
