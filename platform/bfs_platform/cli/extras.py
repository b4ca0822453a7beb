"""What a command needs beyond plain `bfs`: which extra brings a library that is absent."""

import importlib.util

from bfs_model.errors import BadInput

_OURS = ("bfs_model", "bfs_platform", "bfs_serve")


def explained(command: str, error: ModuleNotFoundError) -> BadInput | None:
    """The line to say when `command` met a library that is absent; None for a module of ours, whose absence is our fault."""
    name = error.name or ""
    return None if name.partition(".")[0] in ("", *_OURS) else _absent(command, name, "platform")


def require(command: str, extra: str, *libraries: str) -> None:
    """Raises `BadInput` that names `extra` for the first of `libraries` that is not installed; imports none of them."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise _absent(command, library, extra)


def _absent(command: str, library: str, extra: str) -> BadInput:
    return BadInput("command", command, f"needs {library}, which plain bfs does without", f"pip install 'bfs[{extra}]'")
