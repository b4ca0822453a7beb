"""The shadow network of a build with its base in four bits."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.sampling import shadow_network
from bfs_model.sampling.shadow_network import ShadowSettings, control_transformer
from bfs_platform.config import apply
from bfs_platform.data.model.base import identities, open_model
from bfs_platform.data.record import Record
from bfs_platform.data.spec import DataSpec

has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
LEARNED = "shadow.kind=flux_shadow"


@pytest.fixture(scope="module")
def network(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shadow network with a LoRA that does something, on a bundle of random weights."""
    base = BFSPipeline.from_pretrained(bundle_path).transformer
    torch.manual_seed(0)
    transformer = control_transformer(base, 3)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.2)
    width = base.config
    prompt = torch.zeros(1, 5, width.joint_attention_dim), torch.zeros(1, width.pooled_projection_dim)
    folder = tmp_path_factory.mktemp("shadow") / "shadow_network"
    shadow_network.save(shadow_network.lora_state(transformer), prompt, ShadowSettings(3, 3.5, 2), str(bundle_path), folder, {})
    return folder


@pytest.fixture
def record() -> Record:
    """A square on a plain ground."""
    picture, mask = np.full((32, 32, 3), 120, np.uint8), np.zeros((32, 32), np.uint8)
    picture[8:20, 10:22], mask[8:20, 10:22] = (200, 40, 30), 255
    return Record("one", "a square", picture, picture, mask)


def test_four_bits_are_another_set(pixel_spec: DataSpec) -> None:
    """Left alone it does not show in what a set is known by; set, it does; and it is refused where there is nothing to hold."""
    assert "memory" not in pixel_spec.identity()["spec"] and "memory" not in pixel_spec.content()
    learned = apply(pixel_spec, [LEARNED])
    rounded = apply(learned, ["memory=nf4"])
    assert rounded.content() == {**learned.content(), "memory": "nf4"}
    with pytest.raises(BadInput, match="memory=nf4 is for the shadow network, and shadow.kind=procedural loads none; leave it out"):
        apply(pixel_spec, ["memory=nf4"])


def test_what_a_machine_cannot_do_is_said_before_any_record(pixel_spec: DataSpec, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is not there; and a base that the environment would round too early."""
    spec = apply(pixel_spec, [LEARNED, f"models.flux_shadow={network}"])
    assert set(identities(spec)) == {"flux_shadow"}
    monkeypatch.setenv("BFS_MEMORY", "nf4")
    with pytest.raises(BadInput, match="BFS_MEMORY=nf4 would round the base .* unset it for builds, and set memory=nf4 in their recipe"):
        identities(spec)
    monkeypatch.delenv("BFS_MEMORY")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else found(name, *rest))
    with pytest.raises(BadInput, match="memory=nf4 needs bitsandbytes, which is not installed"):
        identities(apply(spec, ["memory=nf4"]))


@pytest.mark.skipif(not has_bitsandbytes, reason="`make test-quantised` brings bitsandbytes")
def test_only_the_base_is_rounded(pixel_spec: DataSpec, network: Path, record: Record) -> None:
    """The LoRA beside it keeps its bits; the layer is nearly the same, and not quite."""
    from bitsandbytes.nn import Linear4bit

    spec = apply(pixel_spec, [LEARNED, f"models.flux_shadow={network}"])
    models: list[Any] = [open_model("flux_shadow", apply(spec, [f"memory={memory}"])) for memory in ("none", "nf4")]
    plain, rounded = (model.network.transformer for model in models)
    assert any(isinstance(module, Linear4bit) for module in rounded.modules())
    one, two = (shadow_network.lora_state(transformer) for transformer in (plain, rounded))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    layers = [model([replace(record)])[0].foreground.astype(int) for model in models]
    assert layers[0].shape == layers[1].shape == (32, 32, 4)
    apart = np.abs(layers[0] - layers[1])
    assert apart.max() > 0 and apart.mean() < 16
