"""GIMP as a reader: Script-Fu opens the documents and exports every layer."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from .seen import Seen, SeenLayer

NAME = "GIMP"
GIMP = shutil.which("gimp-console") or shutil.which("gimp")
ABSENT = None if GIMP else "the program `gimp` is not installed"
_SCRIPT = Path(__file__).with_name("inside_gimp.scm")
_MODES = {28: "normal", 30: "multiply", 31: "screen"}  # GimpLayerMode of GIMP 2.10
_PASS_THROUGH = 61
_ROW = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)


def version() -> str:
    """As GIMP says it."""
    said = subprocess.run([str(GIMP), "--version"], capture_output=True, text=True, timeout=60).stdout
    return said.split()[-1]


def read(documents: list[Path], folder: Path) -> dict[Path, Seen]:
    """All documents in one GIMP. Fails where GIMP warns of something in them."""
    for number in range(len(documents)):
        (folder / str(number)).mkdir(parents=True)
    calls = [f'(bfs-read "{path}" "{folder / str(number)}")' for number, path in enumerate(documents)]
    batch = "\n".join([_SCRIPT.read_text(encoding="utf-8"), *calls])
    command = [str(GIMP), "--no-interface", "--no-data", "--no-fonts", "--new-instance", "-b", batch, "-b", "(gimp-quit 0)"]
    env = os.environ | {"HOME": str(folder), "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert "rror" not in result.stdout + result.stderr, result.stdout + result.stderr
    # A metadata field that GIMP does not know would greet the user with a warning on every opening.
    assert not re.search("XMP|namespace|PSD", result.stderr), result.stderr
    return {path: _seen(folder / str(number)) for number, path in enumerate(documents)}


def _seen(folder: Path) -> Seen:
    lines = (folder / "layers.txt").read_text(encoding="utf-8").splitlines()
    rows = [[_value(quoted, plain) for quoted, plain in _ROW.findall(line)] for line in lines]
    sheet = np.asarray(Image.open(folder / "sheet.png").convert("RGBA"))
    names = {str(row[3]) for row in rows[1:]}
    groups: dict[int, tuple[str, ...]] = {-1: ()}
    layers = []
    for number, parent, is_group, name, x, y, width, height, top, opacity, mode, visible, mask in rows[1:]:
        assert mask == -1, f"{name} has a mask"
        if is_group:
            assert (opacity, mode, visible) == (100, _PASS_THROUGH, 1), f"{name} looks like something itself"
            groups[number] = (*groups[parent], _unnumbered(name, names))
        else:
            pixels = sheet[top : top + height, :width]
            looks = (opacity / 100, _MODES[mode], bool(visible))
            layers.append(SeenLayer(groups[parent], _unnumbered(name, names), *looks, x, y, pixels))
    flat = np.asarray(Image.open(folder / "flat.png").convert("RGBA"))
    return Seen(*rows[0], layers[::-1], flat)


def _unnumbered(name: str, names: set[str]) -> str:
    """The name in the file: in GIMP no two are the same, and the second one of a name is numbered."""
    base = re.sub(r" #\d+$", "", name)
    return base if base in names else name


def _value(quoted: str, plain: str) -> str | int | float:
    """As Script-Fu writes it: strings in quotes with backslashes, numbers."""
    if not plain:
        return re.sub(r"\\(.)", r"\1", quoted)
    return float(plain) if "." in plain or "e" in plain else int(plain)
