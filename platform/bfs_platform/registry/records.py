"""The history of an alias: one tag of the registered model per move, never rewritten.

A move is written down before the alias moves, so that the alias is set last; a move that was interrupted in between is
recognised because nothing went on from it.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.registry.store import Registry, registry_errors


@dataclass(frozen=True, slots=True)
class Move:
    """An alias went from version `previous` (None the first time) to `version`, by promotion or rollback, at `at_s` (Unix time)."""

    action: str
    version: str
    previous: str | None
    content_hash: str
    at_s: float


def write_move(registry: Registry, name: str, alias: str, move: Move) -> None:
    """Append a move."""
    key = f"{_prefix(alias)}{time.time_ns():020d}-{secrets.token_hex(3)}"
    with registry_errors(registry.uri, "model", name):
        registry.client.set_registered_model_tag(name, key, json.dumps(asdict(move)))


def moves(registry: Registry, name: str, alias: str) -> list[Move]:
    """All moves that took place, oldest first. Raises `BadInput` when there is no model called `name`."""
    with registry_errors(registry.uri, "model", name):
        model = registry.client.get_registered_model(name)
    written = [Move(**json.loads(value)) for key, value in sorted(model.tags.items()) if key.startswith(_prefix(alias))]
    current = model.aliases.get(alias)
    # Where the alias stood after each move: where the next one found it, or where it is now. A move that left it where it
    # was did not happen. One that left it at a third version did, and somebody moved the alias by other means afterwards.
    stood = [*(move.previous for move in written[1:]), None if current is None else str(current)]
    return [move for move, after in zip(written, stood, strict=False) if after == move.version or after != move.previous]


def earlier(registry: Registry, name: str, alias: str) -> str:
    """The version to go back to: what was champion before the current one, rollbacks undone. Raises `BadInput` if none was."""
    stack: list[str] = []
    for move in moves(registry, name, alias):
        if move.action == "rollback" and move.version in stack:
            del stack[len(stack) - stack[::-1].index(move.version) :]  # to where it was last
        else:
            if move.previous is not None and stack[-1:] != [move.previous]:
                stack.append(move.previous)  # set by other means
            stack.append(move.version)
    if len(stack) < 2:
        raise BadInput("alias", f"{name}@{alias}", "has no earlier version to go back to", "promote another version instead")
    return stack[-2]


def history(name: str = "bfs", alias: str = "champion", *, uri: str | None = None) -> list[dict[str, Any]]:
    """All moves of an alias, oldest first, as plain values. Raises `BadInput` for an unknown model."""
    return [asdict(move) for move in moves(Registry.open(uri), name, alias)]


def _prefix(alias: str) -> str:
    return f"history.{alias}."
