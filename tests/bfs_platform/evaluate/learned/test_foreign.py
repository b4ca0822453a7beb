"""Metrics of another environment, played by an interpreter with packages of our own under their names."""

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bfs_model.errors import BadInput
from bfs_platform.evaluate.learned import scoring
from bfs_platform.evaluate.learned.foreign import Absent, ForeignScorer, probe
from bfs_platform.evaluate.learned.scoring import Learned, check_learned, present
from bfs_platform.evaluate.spec import LearnedSpec

PYIQA = """
import torch
print("a library that talks")
def create_metric(name, device):
    def metric(path):
        assert open(path, "rb").read(4) == b"\\x89PNG"
        return torch.rand(()) + {"musiq": 60, "maniqa": 0}[name]
    return metric
"""
HPSV3 = """
class HPSv3RewardInferencer:
    def __init__(self, device): pass
    def reward(self, image_paths, prompts):
        if prompts[0] == "fail": raise ValueError("no such prompt")
        if prompts[0] == "die": raise SystemExit
        return [[float(len(prompts[0])), 0.5]]
"""
TORCH = """
class _Generator:
    state = 0.0
def manual_seed(seed): _Generator.state = 0.25 + seed
def rand(shape):
    _Generator.state += 0.125
    return _Generator.state
class no_grad:
    def __enter__(self): pass
    def __exit__(self, *_): pass
class cuda:
    is_available = staticmethod(lambda: False)
def device(name): return name
"""


@pytest.fixture
def interpreter(tmp_path: Path) -> str:
    """A Python that finds three small modules named like the real packages, and not our import path."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name, text in (("pyiqa", PYIQA), ("hpsv3", HPSV3), ("torch", TORCH)):
        (packages / f"{name}.py").write_text(text)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
    os.chmod(script, stat.S_IRWXU)
    return str(script)


def test_scores_come_through_the_pipe(interpreter, picture) -> None:
    """Each package answers with its own metrics, in spite of its chatter, and the same again for the same picture."""
    scorer = ForeignScorer("pyiqa", interpreter)
    try:
        first = scorer.score(picture, "")
        assert first == scorer.score(picture, "") == {"musiq": 60.375, "maniqa": 0.5}
    finally:
        scorer.close()
    assert set(probe("pyiqa", interpreter)) == {"pyiqa", "torch"}


def test_a_failing_score_does_not_end_the_scorer(interpreter, picture) -> None:
    """What the other side could not do is an error with its reason; the next picture is scored."""
    scorer = ForeignScorer("hpsv3", interpreter)
    try:
        with pytest.raises(RuntimeError, match="ValueError: no such prompt"):
            scorer.score(picture, "fail")
        assert scorer.score(picture, "a cube") == {"hpsv3": 6.0}
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended"):
                scorer.score(picture, "die")
    finally:
        scorer.close()


def test_a_worker_that_cannot_load_what_is_there_says_so(interpreter, tmp_path, monkeypatch) -> None:
    """The package imports and its networks do not load, or loading kills the process: each record names it, the rest is measured."""
    for text, said in (
        ("raise OSError('no weights')", "cannot be loaded: OSError: no weights"),
        ("import os; os._exit(9)", "ended without"),
    ):
        (tmp_path / "packages" / "hpsv3.py").write_text(f"class HPSv3RewardInferencer:\n    def __init__(self, device):\n        {text}\n")
        spec = LearnedSpec(hpsv3=interpreter, pyiqa=interpreter)
        learned = Learned(present(spec, check_learned(spec)))
        sample = SimpleNamespace(id="a", caption="a cube")
        monkeypatch.setattr(scoring, "judged", lambda *_: (np.zeros((4, 4, 3), np.uint8),) * 2)
        result = {"systems": {"model": {}}, "failures": []}
        learned.score("model", SimpleNamespace(has_layer=False), sample, result)
        assert result["systems"]["model"]["hpsv3"] is None and result["systems"]["model"]["musiq"] > 0
        assert [failure["system"] for failure in result["failures"]] == ["model: hpsv3"] and said in result["failures"][0]["error"]
        for scorer in learned.scorers:
            scorer.close()


def test_what_is_not_installed_is_absent_with_a_reason() -> None:
    """The reason is what Python said; nothing stays behind."""
    with pytest.raises(Absent, match="No module named 'hpsv3'"):
        probe("hpsv3", "python")
    with pytest.raises(Absent, match="No module named 'hpsv3'"):
        ForeignScorer("hpsv3", "python")


@pytest.mark.parametrize("wrong", ["nowhere/python", os.devnull])
def test_an_interpreter_that_is_none_is_refused(wrong) -> None:
    """A path that cannot be executed is a mistake of the caller, not an absent package."""
    with pytest.raises(BadInput, match=r"learned\.hpsv3=.*is not an executable file"):
        probe("hpsv3", wrong)


def test_a_program_that_is_no_python_is_refused(tmp_path) -> None:
    """Whatever it says on stderr is part of the message."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    os.chmod(script, stat.S_IRWXU)
    with pytest.raises(BadInput, match="is not a Python that works .broken."):
        probe("pyiqa", str(script))
