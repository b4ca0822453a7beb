"""What names the way in which an evaluation measured."""

from typing import Any

from bfs_platform.registry.evaluation import protocol_of

SPEC: dict[str, Any] = {"task": "insertion", "steps": 28, "short_side": 512}


def _named(**changes: Any) -> str:
    return protocol_of({"recipe": {"spec": SPEC | changes}})


def test_figures_of_a_rounded_base_are_another_protocol() -> None:
    """Four bits draw something else. What was measured before recipes had that setting counts as measured without it."""
    assert _named() == _named(memory=None) == _named(kept_records=3)
    assert len({_named(), _named(memory="nf4"), _named(memory="int8"), _named(steps=4)}) == 4
