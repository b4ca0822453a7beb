"""The nodes of ComfyUI, called as it calls them, against the service with the embedded model."""

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model.document.layers import LayerStack

pytestmark = pytest.mark.ray

PROMPT = "a small blue glass cone"
BOX = {"x": 40, "y": 30, "width": 80, "height": 70}


@pytest.fixture
def image(background: Path) -> torch.Tensor:
    """What Load Image makes of the background."""
    return torch.from_numpy(np.asarray(Image.open(background)).astype(np.float32) / 255)[None]


@pytest.fixture
def marked() -> torch.Tensor:
    """A mask whose box is BOX."""
    mask = torch.zeros(1, 120, 160)
    mask[:, 30:100, 40:120] = 1
    return mask


def call(comfy_nodes: ModuleType, title: str, /, **given: Any) -> Any:
    """As ComfyUI does: defaults of the widgets filled in, only declared inputs passed, as many outputs as declared."""
    node = comfy_nodes.NODE_CLASS_MAPPINGS[title]
    inputs = node.INPUT_TYPES()
    defaults = {key: spec[1]["default"] for key, spec in inputs["required"].items() if len(spec) > 1 and "default" in spec[1]}
    choices = {key: spec[0][0] for key, spec in inputs["required"].items() if isinstance(spec[0], list)}
    values = choices | defaults | given
    assert set(inputs["required"]) <= set(values) <= set(inputs["required"]) | set(inputs.get("optional", {}))
    found = getattr(node(), node.FUNCTION)(**values)
    assert len(found) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return found


def api(url: str, path: str, files: dict[str, Path], **fields: str) -> np.ndarray:
    """The same by HTTP alone: the layer as RGBA."""
    opened = {name: file.read_bytes() for name, file in files.items()}
    answer = httpx2.post(f"{url}{path}", files=opened, data=fields, headers={"Prefer": "wait=120", "Accept": "image/png"}, timeout=150)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def assert_same(layer: torch.Tensor, mask: torch.Tensor, expected: np.ndarray) -> None:
    """A layer and its mask are this RGBA picture."""
    assert np.array_equal((255 * layer).round().numpy(), expected[..., :3])
    assert np.array_equal((255 * (1 - mask)).round().numpy(), expected[..., 3])
    assert 0 < float(mask.mean()) < 1


def test_generate_draws_what_the_api_draws(comfy_nodes: ModuleType, embedded: str, image: torch.Tensor, background: Path) -> None:
    """A batch of two gets two seeds; layer and mask are the API's PNG, and the composite is Eq. 1 of both."""
    two = image.expand(2, -1, -1, -1)
    layer, mask, composite, seed = call(comfy_nodes, "BFSGenerate", background=two, prompt=PROMPT, seed=7, steps=2, service=embedded, **BOX)
    assert layer.shape == (2, 120, 160, 3) and mask.shape == (2, 120, 160) and seed == 7
    for number in range(2):
        fields = {"box": "40,30,120,100", "prompt": PROMPT, "seed": str(7 + number), "steps": "2"}
        assert_same(layer[number], mask[number], api(embedded, "/v1/layers", {"background": background}, **fields))
    alpha = 1 - mask[..., None]
    assert torch.allclose(composite, alpha * layer + (1 - alpha) * two, atol=0.51 / 255)


def test_a_mask_and_a_reference_take_the_place_of_numbers_and_words(
    comfy_nodes: ModuleType, embedded: str, image: torch.Tensor, background: Path, marked: torch.Tensor
) -> None:
    """The box around the mask, the object of another picture."""
    given = {"background": image, "prompt": "", "seed": 1, "steps": 2, "service": embedded, "mask": marked, "reference": image.flip(2)}
    layer, mask, _, _ = call(comfy_nodes, "BFSGenerate", **given)
    shown = background.with_name("reference.png")
    Image.open(background).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(shown)
    fields = {"box": "40,30,120,100", "prompt": "", "seed": "1", "steps": "2"}
    assert_same(layer[0], mask[0], api(embedded, "/v1/layers", {"background": background, "reference": shown}, **fields))


def test_extract_finds_the_layer_again(
    comfy_nodes: ModuleType, embedded: str, image: torch.Tensor, background: Path, tmp_path: Path
) -> None:
    """Without a mask, where the two pictures differ."""
    finished = image.clone()
    finished[:, 50:90, 60:100] = torch.tensor([0.8, 0.1, 0.1])
    path = tmp_path / "composite.png"
    Image.fromarray((255 * finished[0]).round().to(torch.uint8).numpy()).save(path)
    layer, mask, _ = call(comfy_nodes, "BFSExtract", composite=finished, background=image, seed=3, steps=2, service=embedded)
    fields = {"prompt": "", "seed": "3", "steps": "2"}
    assert_same(layer[0], mask[0], api(embedded, "/v1/extractions", {"composite": path, "background": background}, **fields))


def test_a_document_is_written_with_all_its_layers(
    comfy_nodes: ModuleType, embedded: str, image: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chained layers, one of them in parts: a PSD that opens with the same layers as the tensors, under a free number."""
    monkeypatch.chdir(tmp_path)
    (first,) = call(comfy_nodes, "BFSLayer", prompt=PROMPT, seed=1, steps=2, split_effects=True, **BOX)
    (both,) = call(comfy_nodes, "BFSLayer", prompt="a large red rubber sphere", name="球", seed=2, steps=2, below=first, **BOX)
    given = {"background": image, "layers": both, "filename_prefix": "../../scene", "service": embedded}
    composite, layers, masks, path = call(comfy_nodes, "BFSDocument", **given)
    assert Path(path) == Path("output/scene_00001.psd")
    stack = LayerStack.open(path)
    assert [layer.name for layer in stack] == ["Background", f"{PROMPT} (effects)", f"{PROMPT} (object)", "球"]
    assert layers.shape == (3, 120, 160, 3) and masks.shape == (3, 120, 160)
    for layer, mask in zip(stack.layers[1:], masks, strict=True):
        assert np.array_equal((255 * (1 - mask)).round().numpy(), layer.on_canvas(160, 120)[..., 3])
    assert np.array_equal((255 * composite[0]).round().numpy(), np.asarray(stack.flatten()))
    assert call(comfy_nodes, "BFSDocument", **given)[3] == "output/scene_00002.psd"


def test_what_the_service_refuses_stops_the_workflow(comfy_nodes: ModuleType, embedded: str, image: torch.Tensor) -> None:
    """With the service's own sentence."""
    service = sys.modules[f"{comfy_nodes.__name__}.service"]
    box = {"x": 100, "y": 0, "width": 100, "height": 10}
    with pytest.raises(service.ServiceError, match=r"box=.* leaves the image"):
        call(comfy_nodes, "BFSGenerate", background=image, service=embedded, **box)
