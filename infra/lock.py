"""Write requirements.lock: the exact version of everything that `bfs[dev]` needs, as pip resolves it today.

Run it as `make lock`. It resolves in a fresh virtual environment, with pip's own configuration deciding where packages
come from, and installs nothing. Local version suffixes (`+cpu`) and the CUDA packages of one particular build of torch
are left out, so the same file serves machines with and without an accelerator: there, torch's own metadata pins them.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
BELONGS_TO_ONE_BUILD_OF_TORCH = re.compile(r"nvidia-|cuda-|triton$|pytorch-triton")
HEADER = """\
# Exact versions of everything, for the Makefile, CI and the image alike. Do not edit; regenerate with:
#   make lock
# Resolved with Python {version} on {platform}. pip's own configuration decides which build of torch these names give.
"""


def main() -> None:
    """Resolve, then rename the new lock into place."""
    with tempfile.TemporaryDirectory() as folder:
        pins = _pins(_resolve(Path(folder)))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = HEADER.format(version=version, platform=sys.platform) + "\n".join(pins) + "\n"
    temporary = LOCK.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, LOCK)
    print(f"{LOCK.name}: {len(pins)} packages")


def _resolve(folder: Path) -> dict:
    """pip's installation report for `bfs[dev]` in an empty environment."""
    venv.create(folder / "venv", with_pip=True)
    report = folder / "report.json"
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--dry-run", "--report", str(report)]
    subprocess.run([*pip, f"{ROOT}[dev]"], check=True)
    return json.loads(report.read_text(encoding="utf-8"))


def _pins(report: dict) -> list[str]:
    """Sorted `name==version` lines, names normalised, without our own distribution."""
    pins = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "bfs" and not BELONGS_TO_ONE_BUILD_OF_TORCH.match(name):
            pins[name] = item["metadata"]["version"].partition("+")[0]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


if __name__ == "__main__":
    main()
