"""The pipeline as users call it, on an untrained bundle."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_model.picture.compositing import composite_u8
from bfs_model.tiny.components import random_bundle
from bfs_model.weight import bundle

BOX = (21, 11, 47, 33)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle."""
    return random_bundle(tmp_path_factory.mktemp("bundles") / "random")


@pytest.fixture
def pipe(folder: Path) -> BFSPipeline:
    """A pipeline loaded from it."""
    loaded = BFSPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def background() -> Image.Image:
    """A picture of noise with sides that nothing divides."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (53, 71, 3), np.uint8))


def test_layer_has_the_size_of_the_background_and_composites_onto_it(pipe: BFSPipeline, background: Image.Image) -> None:
    """The layer is RGBA on the full canvas; the composite is Eq. 1 of it; the seed comes back; nothing global is drawn from."""
    state = torch.random.get_rng_state()
    out = pipe(background, BOX, "a red cube", seed=5, num_inference_steps=3)
    assert torch.equal(state, torch.random.get_rng_state())
    layer = np.asarray(out.foregrounds[0])
    assert out.foregrounds[0].mode == "RGBA" and layer.shape == (53, 71, 4) and layer[..., 3].any() and out.seeds == [5]
    assert np.array_equal(np.asarray(out.composites[0]), composite_u8(layer, np.asarray(background)))


def test_same_seed_same_layer_other_seed_other_layer(pipe: BFSPipeline, background: Image.Image) -> None:
    """A seed decides the layer; so does a generator; without either, two calls differ and name their seeds."""
    one, two, other = (pipe(background, BOX, "x", seed=s, num_inference_steps=2) for s in (1, 1, 2))
    assert np.array_equal(one.foregrounds[0], two.foregrounds[0]) and not np.array_equal(one.foregrounds[0], other.foregrounds[0])
    drawn = [pipe(background, BOX, "x", num_inference_steps=2) for _ in range(2)]
    assert drawn[0].seeds != drawn[1].seeds
    again = pipe(background, BOX, "x", seed=drawn[0].seeds[0], num_inference_steps=2)
    assert np.array_equal(again.foregrounds[0], drawn[0].foregrounds[0])
    made = [pipe(background, BOX, "x", generator=torch.Generator().manual_seed(9), num_inference_steps=2) for _ in range(2)]
    assert np.array_equal(made[0].foregrounds[0], made[1].foregrounds[0]) and made[0].seeds == [9]


def test_a_batch_equals_single_calls(pipe: BFSPipeline, background: Image.Image) -> None:
    """Different backgrounds, boxes, prompts and seeds in one call give what single calls give, to one level."""
    other = Image.new("RGB", (40, 90), (30, 90, 200))
    batch = pipe([background, other], [BOX, (3, 5, 29, 41)], ["a red cube", "a small sphere"], seed=[4, 8], num_inference_steps=2)
    single = [
        pipe(background, BOX, "a red cube", seed=4, num_inference_steps=2),
        pipe(other, (3, 5, 29, 41), "a small sphere", seed=8, num_inference_steps=2),
    ]
    for whole, alone in zip(batch.foregrounds, single, strict=True):
        assert np.abs(np.asarray(whole).astype(int) - np.asarray(alone.foregrounds[0]).astype(int)).max() <= 1


def test_callback_sees_every_step_and_can_stop(pipe: BFSPipeline, background: Image.Image) -> None:
    """The callback gets step, time and latents, may replace them, and may interrupt."""
    steps: list[int] = []

    def watch(p: Any, step: int, t: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(step)
        p._interrupt = step == 1
        return {"latents": torch.zeros_like(tensors["latents"])}

    out = pipe(background, BOX, "x", seed=1, num_inference_steps=5, output_type="latent", callback_on_step_end=watch)
    assert steps == [0, 1] and not out.foregrounds[0].any()


def test_extraction_holds_the_composite_branch(pipe: BFSPipeline, background: Image.Image) -> None:
    """With a known composite, the composite branch ends exactly at its latent; the layer is another one than without."""
    finished = Image.new("RGB", background.size, (200, 40, 40))
    out = pipe.extract(finished, background, BOX, "x", seed=1, num_inference_steps=2, output_type="latent")
    from bfs_model.latent.latents import pack
    from bfs_model.picture.window import Window

    window = Window.around(bundle_box(), 71, 53, size=pipe.config.window_size)
    known = pack(pipe._encode([window], [np.asarray(finished, np.float32) / 255]))
    assert torch.equal(out.composites[0], known[0])
    free = pipe(background, BOX, "x", seed=1, num_inference_steps=2, output_type="latent")
    assert not torch.equal(free.composites[0], known[0])


def bundle_box() -> Any:
    """The box of these tests."""
    from bfs_model.picture.boxes import Box

    return Box.of(BOX)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": (0, 0, 72, 10)}, "leaves the image of 71x53"),
        ({"box": (9, 9, 9, 20)}, "is empty or reversed"),
        ({"box": (30, 5, 10, 20)}, "is empty or reversed"),
        ({"box": "1,2,3"}, "is not a box"),
        ({"num_inference_steps": 0}, "steps=0"),
        ({"background": b"GIF89a"}, "background="),
        ({"prompt": [1]}, "is not text"),
        ({"box": []}, "is not a box"),
        ({"background": None}, "background=<NoneType> is not a picture"),
        ({"background": io.StringIO("x")}, "background=<StringIO> is not a binary stream"),
        ({"prompt": None}, "is not text"),
        ({"prompt": []}, "is not text"),
        ({"num_inference_steps": 2.0}, "steps=2.0 is not a whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale=nan is not a finite number"),
        ({"step_cache": {"kind": "first_block"}}, "step_cache={'kind': 'first_block'} is unknown"),
        ({"prompt": "half \ud83d"}, "holds half a character"),
        ({"background": np.zeros((9, 9, 3), np.uint16)}, r"background=<uint16 array of shape \[9, 9, 3\]> is of a kind"),
        ({"background": np.full((9, 9, 3), 255.0)}, "holds numbers outside 0 to 1"),
        ({"background": np.full((9, 9, 3), np.nan)}, "holds numbers outside 0 to 1"),
        ({"background": np.zeros((9, 9, 2), np.uint8)}, "has not the shape of a picture"),
        ({"composite": Image.new("RGB", (70, 53))}, "composite=70x53 does not fit the background, 71x53"),
        ({"seed": 1.5}, "is not a whole number"),
        ({"seed": [1, 2]}, "are not 1 seeds"),
        ({"output_type": "jpeg"}, "output_type=jpeg"),
    ],
)
def test_bad_input_is_one_clear_line(pipe: BFSPipeline, background: Image.Image, change: dict[str, Any], message: str) -> None:
    """Each kind of wrong argument names itself."""
    arguments = {"background": background, "box": BOX, "prompt": "x", "num_inference_steps": 2} | change
    with pytest.raises(BadInput, match=message) as caught:
        pipe(**arguments)
    assert "\n" not in str(caught.value)


def test_arrays_of_every_kind_are_one_picture(pipe: BFSPipeline) -> None:
    """Grey, RGB and RGBA, bytes and floats, of equal colours draw equal layers; what is clear is seen over white."""
    grey = np.random.default_rng(2).integers(0, 256, (53, 71), np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    clear = np.dstack([np.zeros_like(rgb), np.zeros_like(grey)])
    kinds = [grey, grey[..., None], rgb, rgb / np.float32(255), np.dstack([rgb, np.full_like(grey, 255)])]
    layers = [pipe(kind, BOX, "x", seed=np.int64(1), num_inference_steps=2).foregrounds[0] for kind in kinds]
    assert all(np.array_equal(layer, layers[0]) for layer in layers)
    for empty in (clear, clear.astype(np.float32)):
        out = pipe(empty, BOX, "x", seed=1, num_inference_steps=2)
        assert out.composites[0].getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_size": 60}, "window_size=60 is not a multiple of 8"),
        ({"window_size": "64"}, "window_size=64 is not a multiple of 8"),
        ({"alpha_floor": 1.0}, "alpha_floor=1.0 is not a number from 0 to below 1"),
        ({"default_steps": 2000}, "steps=2000 is not a whole number"),
        ({"guidance_scale": "3"}, "guidance_scale=3 is not a finite number"),
        ({"true_cfg_scale": 0.5}, "true_cfg_scale=0.5 is not a number of at least 1"),
    ],
)
def test_settings_are_checked_when_a_model_is_loaded(folder: Path, settings: dict[str, Any], message: str) -> None:
    """Not in the first call."""
    with pytest.raises(BadInput, match=message):
        BFSPipeline.from_pretrained(folder, **settings)


def test_a_failure_while_saving_leaves_nothing(pipe: BFSPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle: neither a bundle nor what was to become one."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(pipe.sharing), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        pipe.save_pretrained(tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_somebody_else_is_left_alone(pipe: BFSPipeline, tmp_path: Path) -> None:
    """Neither a directory that holds other things nor a file is replaced, and nothing is left beside it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken, said in (("photos", "was not written by BFS"), ("file", "is a file")):
        with pytest.raises(BadInput, match=said):
            pipe.save_pretrained(tmp_path / taken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos"]


def test_save_and_load_round_trip(pipe: BFSPipeline, background: Image.Image, tmp_path: Path) -> None:
    """A saved pipeline draws the same layer, has the same content hash when saved again, and remembers no paths."""
    pipe.save_pretrained(tmp_path / "one")
    loaded = BFSPipeline.from_pretrained(tmp_path / "one")
    loaded.set_progress_bar_config(disable=True)
    before, after = (p(background, BOX, "x", seed=1, num_inference_steps=2).foregrounds[0] for p in (pipe, loaded))
    assert np.array_equal(before, after)
    loaded.save_pretrained(tmp_path / "two")
    assert bundle.content_hash(tmp_path / "one") == bundle.content_hash(tmp_path / "two")
    assert str(tmp_path) not in (tmp_path / "two" / "model_index.json").read_text()


def test_a_fresh_bundle_is_a_function_of_its_seed(tmp_path: Path) -> None:
    """Two bundles of one seed have one content hash, of two seeds two."""
    hashes = [bundle.content_hash(random_bundle(tmp_path / name, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_model_points_to_its_base(pipe: BFSPipeline, folder: Path, tmp_path: Path) -> None:
    """A model holds its trained parts; loading checks that the base is the one it was trained on."""
    with torch.no_grad():
        pipe.sharing.blocks[0].lora.up.fill_(0.25)
    bundle.save_model(pipe, tmp_path / "model", str(folder), {"training": {}})
    loaded = BFSPipeline.from_pretrained(tmp_path / "model")
    assert (loaded.sharing.blocks[0].lora.up == 0.25).all()
    assert bundle.root_of(tmp_path / "model") == str(folder) and loaded.source.startswith(str(tmp_path / "model"))
    other = random_bundle(tmp_path / "other", seed=1)
    bundle.save_model(pipe, tmp_path / "moved", str(other), {})
    random_bundle(other, seed=2)
    with pytest.raises(IntegrityError, match="was trained on"):
        BFSPipeline.from_pretrained(tmp_path / "moved")


def test_damaged_and_missing_bundles_are_refused(folder: Path, tmp_path: Path) -> None:
    """One flipped bit in a weight file, a missing manifest, a missing folder: each is named."""
    random_bundle(tmp_path / "damaged")
    weights = tmp_path / "damaged" / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"transformer/diffusion_pytorch_model\.safetensors is damaged"):
        BFSPipeline.from_pretrained(tmp_path / "damaged")
    (tmp_path / "damaged" / integrity.MANIFEST).unlink()
    with pytest.raises(IntegrityError, match="has no manifest"):
        BFSPipeline.from_pretrained(tmp_path / "damaged")
    with pytest.raises(BadInput, match="is not a folder"):
        BFSPipeline.from_pretrained(tmp_path / "nowhere")
