#!/usr/bin/env python
"""The plug-ins for other people's programs, as the files that they install. Equal sources give equal bytes.

    python infra/plugins.py --output dist

`bfs-krita.zip` goes to Krita's Tools → Scripts → Import Python Plugin from File, `bfs-comfyui.zip` into ComfyUI's `custom_nodes`.
"""

import argparse
import io
import re
import zipfile
from pathlib import Path

from bfs_model.files import write_whole
from bfs_model.version import __version__

ROOT = Path(__file__).resolve().parents[1]
_WHEN = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("dist"), help="the folder of the two zips")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, content in (("bfs-krita.zip", krita()), ("bfs-comfyui.zip", comfyui())):
        print(write_whole(output / name, content))


def krita() -> bytes:
    """A zip as Krita's importer takes it: the .desktop file, and beside it the module, whose folder must be an entry of its own."""
    source = ROOT / "serve/krita"
    return packed(_folder(source / "bfs_krita", "bfs_krita") | {"bfs_krita.desktop": (source / "bfs_krita.desktop").read_bytes()})


def comfyui() -> bytes:
    """A zip of one folder of `custom_nodes`, ready for ComfyUI's registry too. Its version is ours."""
    files = _folder(ROOT / "serve/comfyui", "bfs-layers")
    described = files["bfs-layers/pyproject.toml"].decode()
    files["bfs-layers/pyproject.toml"] = re.sub(r'(?m)^version = ".*"$', f'version = "{__version__}"', described).encode()
    return packed(files)


def packed(files: dict[str, bytes]) -> bytes:
    """A zip of files and of the folders that they lie in, without anything of this machine or this moment."""
    folders = {f"{parent.as_posix()}/" for name in files for parent in Path(name).parents if parent.name}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(folders | set(files)):
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = (0o40755 << 16 | 0x10) if name in folders else 0o100644 << 16
            archive.writestr(info, files.get(name, b""))  # stored: what deflating gives depends on zlib's version
    return out.getvalue()


def _folder(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a plug-in and our licence, by their paths in its zip. Links become what they lead to."""
    found = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    files = {f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in found}
    return files | {f"{name}/LICENSE": (ROOT / "LICENSE").read_bytes()}


if __name__ == "__main__":
    main()
