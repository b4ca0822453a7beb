"""A stack for a test, ended with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_shell import Shell


@pytest.fixture
def shell(tmp_path: Path, repo_root: Path) -> Iterator[Shell]:
    """Whatever a test leaves of its stack ends with it."""
    made = Shell(tmp_path, repo_root)
    yield made
    made.run("bfs", "down", "--state", str(made.folder), code=None)
