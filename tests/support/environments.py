"""Environments that hold exactly what a requirement brings along: links to what is installed here, nothing downloaded."""

import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def brought_along(requirements: Sequence[str], extra: str = "") -> set[str]:
    """Names of all distributions that `bfs`, or `bfs[extra]`, needs, where `requirements` are those of bfs itself."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(f"bfs[{extra}]" if extra else "bfs")]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for chosen in {"", *wanted.extras} - {known for other, known in seen if other == name}:
            seen.add((name, chosen))
            needs = map(Requirement, requirements if name == "bfs" else metadata.requires(name) or [])
            waiting += [r for r in needs if r.marker is None or r.marker.evaluate({"extra": chosen})]
    return {name for name, _ in seen} - {"bfs"}


def linked_environment(folder: Path, distributions: set[str]) -> Path:
    """A virtual environment in `folder` that sees `distributions` of this one, and no other. Returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for name in sorted(distributions):
        for source, place in _parts(metadata.distribution(name)):
            (site / place).parent.mkdir(exist_ok=True)
            if not (site / place).exists():
                (site / place).symlink_to(source)
    return folder / "bin/python"


def _parts(distribution: metadata.Distribution) -> set[tuple[Path, Path]]:
    """What to link, and where to: whole packages, but what a distribution has in a namespace that it shares with others."""
    parts = set()
    for file in distribution.files or ():
        top = file.parts[0]
        if top in ("..", "__pycache__") or top.endswith(".pth"):
            continue
        shared = len(file.parts) > 1 and not Path(str(distribution.locate_file(f"{top}/__init__.py"))).exists()
        place = Path(*file.parts[: 2 if shared else 1])
        parts.add((Path(str(distribution.locate_file(place))), place))
    return parts
