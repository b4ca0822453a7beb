"""The smoke gate and jobs/promote.py, with a real pipeline of random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.sampling.pipeline import BFSPipeline
from bfs_model.tiny.components import random_bundle
from bfs_model.weight.bundle import save_model
from bfs_platform.entry import promote as job
from bfs_platform.evaluate.system import models
from bfs_platform.evaluate.system.models import Drawn
from bfs_platform.jobs import exit_code
from bfs_platform.registry.gates import GateFailed, smoke_gate
from bfs_platform.registry.resolve import resolve
from bfs_platform.registry.spec import SmokeSpec


@pytest.fixture(scope="module")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model as a training job writes it, on an untrained bundle."""
    folder = tmp_path_factory.mktemp("real")
    bundle = random_bundle(folder / "bundle")
    pipeline = BFSPipeline.from_pretrained(bundle)
    out = pipeline.rgba_vae.decoder.conv_out
    with torch.no_grad():  # a fresh RGBA VAE starts opaque; this one draws noise as alpha
        out.weight[3], out.bias[3] = out.weight[0], 0.0
    return save_model(pipeline, folder / "model", str(bundle), {"training": {}}).parent


@pytest.fixture(scope="module")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never trained."""
    folder = tmp_path_factory.mktemp("untrained")
    bundle = random_bundle(folder / "bundle")
    return save_model(BFSPipeline.from_pretrained(bundle), folder / "model", str(bundle), {"training": {}}).parent


class Constant:
    """Draws one alpha everywhere."""

    def __init__(self, alpha: int) -> None:
        self.alpha = alpha

    def draw(self, background: Image.Image, *_: Any) -> Drawn:
        return Drawn(Image.fromarray(np.full((*background.size[::-1], 4), self.alpha, np.uint8)), background)


def test_a_real_model_draws_its_sample(real_model) -> None:
    """The pipeline loads from the model's folder and draws a layer that is neither empty nor full."""
    assert smoke_gate(real_model, SmokeSpec(side=32, steps=1)).startswith("drew one layer, mean alpha 0.")


def test_an_untrained_model_is_refused(untrained_model) -> None:
    """Fresh weights decode to an opaque rectangle; the gate sees it."""
    with pytest.raises(GateFailed, match="alpha is 1 everywhere"):
        smoke_gate(untrained_model, SmokeSpec(side=32, steps=1))


@pytest.mark.parametrize(("alpha", "reason"), [(0, "alpha is 0 everywhere"), (255, "alpha is 1 everywhere")])
def test_constant_alpha_fails(monkeypatch, tmp_path, alpha, reason) -> None:
    """A model that draws nothing, or a full rectangle, is caught."""
    monkeypatch.setattr(models, "load_pipeline", lambda folder: Constant(alpha))
    with pytest.raises(GateFailed, match=reason):
        smoke_gate(tmp_path, SmokeSpec())
    assert "mean alpha" in smoke_gate(tmp_path, SmokeSpec(may_be_blank=True)), "unless nothing else is expected of it"


def test_weights_of_another_shape_fail(real_model, tmp_path) -> None:
    """A model whose weights do not fit its base is whole, but does not load: a failed gate, not a crash."""
    broken = tmp_path / "broken"
    shutil.copytree(real_model, broken)
    (weights,) = (broken / "sharing").glob("*.safetensors")
    save_file({name: value[..., :1].copy() for name, value in load_file(weights).items()}, weights)
    integrity.write_manifest(broken, "model", integrity.read_manifest(real_model)["body"])
    with pytest.raises(GateFailed, match="drawing a layer raised"):
        smoke_gate(broken, SmokeSpec(side=32, steps=1))


def test_the_job_registers_promotes_and_records(store_uri, real_model, tmp_path, capsys) -> None:
    """From a model folder to a champion that a pipeline loads; the record's manifest is the last line of stdout."""
    arguments = ["--candidate", str(real_model), "--output", str(tmp_path / "record"), "--set", "smoke.side=32", "--set", "smoke.steps=1"]
    assert exit_code(lambda: job.main(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'record' / 'manifest.json'}\n"
    assert "Gate smoke: passed" in captured.err and "bfs@champion is now version 1 (before: nothing)" in captured.err
    manifest = integrity.verify(tmp_path / "record", "promotion")
    assert manifest["body"]["uri"] == "models:/bfs/1" and manifest["body"]["recipe"]["recipe"] == "promotion"
    assert json.loads((tmp_path / "record" / "record.json").read_text())["promoted"] is True
    assert BFSPipeline.from_pretrained(resolve("models:/bfs@champion")).source.endswith(manifest["body"]["content_hash"][:12])


def test_a_record_that_cannot_be_written_stops_before_anything_moves(store_uri, real_model, tmp_path, capsys) -> None:
    """A folder of somebody else's as --output: one line, and no champion."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert exit_code(lambda: job.main(["--candidate", str(real_model), "--output", str(tmp_path / "mine")])) == 2
    assert "was not written by BFS" in capsys.readouterr().err
    with pytest.raises(BadInput, match="is not in the registry"):
        resolve("models:/bfs@champion")


def test_a_refused_candidate_exits_with_1_and_a_record(store_uri, real_model, monkeypatch, capsys, tmp_path) -> None:
    """Failing a gate is not a user's mistake: exit code 1, the reason on stderr, and the record says it too."""
    monkeypatch.setattr(models, "load_pipeline", lambda folder: Constant(0))
    with pytest.raises(SystemExit) as end:
        job.main(["--candidate", str(real_model), "--output", str(tmp_path / "record")])
    assert end.value.code == 1
    assert "Gate smoke: failed: alpha is 0 everywhere" in capsys.readouterr().err
    assert integrity.verify(tmp_path / "record", "promotion")["body"]["promoted"] is False


@pytest.mark.parametrize("candidate", ["models:/bfs/7", "models:/bfs", "nowhere"])
def test_an_unknown_candidate_is_one_line(store_uri, capsys, candidate) -> None:
    """Exit code 2 and one line."""
    assert exit_code(lambda: job.main(["--candidate", candidate])) == 2
    assert capsys.readouterr().err.count("\n") == 1
