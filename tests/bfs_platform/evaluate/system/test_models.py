"""How the model under evaluation is loaded."""

from types import SimpleNamespace
from typing import Any

import pytest

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.models import load_pipeline, loader

FAKE = "bfs_platform.evaluate.system.fakes:load_fake_disc"


def test_memory_reaches_every_model(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one under evaluation, and those that it is compared with; where it is not set, the environment decides."""
    asked: list[tuple[str, Any]] = []

    def from_pretrained(name: str, *, memory: str | None = None) -> Any:
        asked.append((str(name), memory))
        return SimpleNamespace(set_progress_bar_config=lambda **_: None, memory="none", to=lambda _: None)

    monkeypatch.setattr(BFSPipeline, "from_pretrained", from_pretrained)
    monkeypatch.setattr("bfs_platform.evaluate.system.baselines.locate", lambda folder: folder)
    for memory in ("nf4", None):
        Evaluator("one", tmp_path, EvaluationSpec(memory=memory, baselines=("other=two",), recogniser=None))
    assert asked == [("one", "nf4"), ("two", "nf4"), ("one", None), ("two", None)]


def test_a_loader_that_cannot_be_told_is_refused() -> None:
    """Its model would silently take all the memory that it likes."""
    assert loader(FAKE)("any") is not None and loader("bfs_platform.evaluate.system.models:load_pipeline") is load_pipeline
    with pytest.raises(BadInput, match=r"memory=nf4 is not taken by loader=.*load_fake_disc; leave it out, or give that function"):
        loader(FAKE, "nf4")
