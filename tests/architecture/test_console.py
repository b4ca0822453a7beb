"""Who may speak to people."""

import re
from pathlib import Path

# Programs of their own that talk to their parent through pipes.
CHILDREN = ("data/decode/child.py", "evaluate/learned/foreign_scorer.py")


def test_nobody_prints_past_the_console(repo_root: Path) -> None:
    """stderr is where libraries print: a line that is printed there would end in the log instead of before people's eyes."""
    package = repo_root / "platform" / "bfs_platform"
    allowed = {*CHILDREN, *(str(path.relative_to(package)) for path in (package / "console").glob("*.py"))}
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if str(path.relative_to(package)) not in allowed and re.search(r"print\([^\n]*sys\.stderr", path.read_text(encoding="utf-8"))
    ]
    assert found == []
