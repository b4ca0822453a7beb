"""A small bundle read part by part is what the libraries' own loaders give."""

import json
from pathlib import Path

import pytest
import torch

from bfs_model import BFSPipeline, integrity
from bfs_model.tiny.components import random_bundle
from bfs_model.weight import bundle, small_bundle


@pytest.fixture(params=["tiny", "random"])
def folder(request, tmp_path) -> Path:
    return bundle.locate("tiny") if request.param == "tiny" else random_bundle(tmp_path / "bundle")


def test_equal_to_the_libraries_own(folder, monkeypatch) -> None:
    """Bitwise the same weights and buffers, the same settings, configurations, modes and tokens; the generator is untouched."""
    torch.manual_seed(3)
    expected_draw = torch.rand(1)
    torch.manual_seed(3)
    small = BFSPipeline.from_pretrained(folder)
    assert torch.rand(1) == expected_draw
    monkeypatch.setattr(small_bundle, "is_small", lambda _manifest: False)
    monkeypatch.setattr(small_bundle, "load", None)
    whole = BFSPipeline.from_pretrained(folder)
    assert {k: v for k, v in small.config.items() if k != "_name_or_path"} == {
        k: v for k, v in whole.config.items() if k != "_name_or_path"
    }
    for name, part in whole.components.items():
        other = small.components[name]
        assert type(other) is type(part)
        if isinstance(part, torch.nn.Module):
            _assert_same(part, other)
    assert small.tokenizer_2(["a red cone"]).input_ids == whole.tokenizer_2(["a red cone"]).input_ids


def _assert_same(part: torch.nn.Module, other: torch.nn.Module) -> None:
    for kind in ("named_parameters", "named_buffers"):
        found, expected = dict(getattr(other, kind)()), dict(getattr(part, kind)())
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor) and found[key].dtype == tensor.dtype
            assert found[key].requires_grad == tensor.requires_grad
    assert other.training == part.training is False


def test_what_is_unknown_is_left_to_the_libraries(tmp_path) -> None:
    """Weights under other names, or a class that is not in the table, make `load` decline."""
    folder = random_bundle(tmp_path / "bundle")
    assert small_bundle.load(folder, {}) is not None
    index = json.loads((folder / "model_index.json").read_text())
    other = index | {"scheduler": ["diffusers", "FlowMatchHeunDiscreteScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(other))
    assert small_bundle.load(folder, {}) is None
    (folder / "model_index.json").write_text(json.dumps(index))
    weights = folder / "sharing" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    assert small_bundle.load(folder, {}) is None


def test_damaged_files_are_refused_all_the_same(tmp_path) -> None:
    """The check of every sha256 comes before anything is read."""
    folder = random_bundle(tmp_path / "bundle")
    weights = folder / "sharing" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(integrity.IntegrityError):
        BFSPipeline.from_pretrained(folder)
