"""Print what an extra of pyproject.toml needs, one requirement a line, our own extras resolved.

    python3 infra/image/dependencies.py pyproject.toml operations

Lets an image install libraries before the code is copied, so that a change of the code does not install them anew.
"""

import re
import sys
import tomllib
from pathlib import Path

_OURS = re.compile(r"bfs\[([\w, ]+)\]")


def needed(project: dict, extra: str) -> list[str]:
    """The requirements of the base and of `extra`, sorted, each once."""
    wanted, found = [extra], set(project["dependencies"])
    while wanted:
        for text in project["optional-dependencies"][wanted.pop()]:
            if ours := _OURS.match(text):
                wanted += [name.strip() for name in ours[1].split(",")]
            else:
                found.add(text)
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(needed(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"], sys.argv[2])))
