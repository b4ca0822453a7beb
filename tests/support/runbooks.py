"""Commands of the runbooks: those for everybody, and those that need a cluster."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Commands:
    """One block of a page: `place` is page and line, `part` the heading that it stands under, `cluster` whether it needs one."""

    place: str
    part: str
    cluster: bool
    text: str


def pages(root: Path) -> list[Path]:
    """The runbooks, without their list."""
    return [path for path in sorted((root / "infra/runbooks").glob("*.md")) if path.name != "README.md"]


def commands(page: Path) -> Iterator[Commands]:
    """The blocks of a page, in order. Raises `ValueError` for one of another kind."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        info = match["info"].strip()
        if info not in ("sh", "sh cluster"):
            raise ValueError(f"{page.name}: a block of `{info}`")
        line = text.count("\n", 0, match.start()) + 1
        (*_, part) = re.findall(r"^## (.+)$", text[: match.start()], re.MULTILINE)
        yield Commands(f"{page.name}:{line}", part, info != "sh", textwrap.dedent(match["text"]))
