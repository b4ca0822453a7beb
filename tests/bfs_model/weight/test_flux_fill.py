"""The real loading path, on a folder that diffusers wrote in FLUX.1-Fill's layout with tiny random weights."""

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel
from PIL import Image
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput, IntegrityError
from bfs_model.latent.latents import pack
from bfs_model.picture.boxes import Box
from bfs_model.tiny.components import random_bundle
from bfs_model.tiny.flux_fill import random_flux_fill
from bfs_model.weight import bundle, flux_fill, foreign, licence

BOX = (11, 13, 41, 47)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in FLUX.1-Fill's layout."""
    return random_flux_fill(tmp_path_factory.mktemp("flux") / "fill")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "fill"))


def load(path: object, **settings: Any) -> BFSPipeline:
    """A quiet pipeline with a small window; the licence is accepted."""
    pipe = BFSPipeline.from_pretrained(path, **{"accept_flux_licence": True, "window_size": 64} | settings)  # type: ignore[arg-type]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_licence_must_be_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it: one line with the licence, its address and both ways to accept it. Each of the two opens the gate."""
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    with pytest.raises(BadInput) as caught:
        BFSPipeline.from_pretrained(folder)
    for part in ("Non-Commercial", licence.FLUX_LICENCE_URL, "accept_flux_licence=True", "BFS_ACCEPT_FLUX_LICENCE=1"):
        assert part in str(caught.value)
    assert load(folder).source == str(folder)
    monkeypatch.setenv(licence.ACCEPT_VARIABLE, "1")
    assert BFSPipeline.from_pretrained(folder).config.window_size == 512


def test_a_fresh_base_has_the_shape_of_the_real_thing(folder: Path) -> None:
    """Window 512, guidance 30 embedded, 8 pixels per latent, 512 text tokens, fresh parts of BFS; and it draws."""
    pipe = load(folder)
    assert BFSPipeline.from_pretrained(folder, accept_flux_licence=True).config["window_size"] == 512
    assert pipe.config["guidance_scale"] == 30.0 and pipe.transformer.config.guidance_embeds
    assert pipe.transformer.config.in_channels == 384 and pipe._latent_shape() == (16, 8, 8)
    assert pipe.encode_prompt(["a ball"])[0].shape[1] == 512
    assert pipe.rgba_vae.config.in_channels == 4 and pipe.sharing.config["rank"] == 16 and pipe.compositor is not None
    assert not any(block.mixer.out.weight.any() for block in pipe.sharing.blocks)
    background = Image.fromarray(np.random.default_rng(0).integers(0, 256, (53, 71, 3), np.uint8))
    out = pipe(background, BOX, "a ball", seed=1, num_inference_steps=2)
    assert out.foregrounds[0].size == (71, 53) and out.foregrounds[0].mode == "RGBA"


def test_settings_of_the_release_are_a_choice(folder: Path) -> None:
    """`sharing_settings` shapes the fresh sharing weights; two loads give the same ones."""
    one, two = (load(folder, sharing_settings=flux_fill.RELEASE) for _ in range(2))
    with pytest.raises(BadInput, match="sharing_settings=rankk is no setting"):
        load(folder, sharing_settings={"rankk": 3})
    assert one.sharing.config["rank"] == 4 and one.sharing.config["mixer"] == "shared" and one.sharing.config["detach_inputs"]
    assert torch.equal(one.sharing.blocks[0].lora.down, two.sharing.blocks[0].lora.down)


@torch.no_grad()
def test_a_fresh_base_samples_what_flux_fill_samples(folder: Path) -> None:
    """Both branches follow diffusers' own pipeline of the same folder at guidance 30, up to rounding in float32."""
    fill = FluxFillPipeline.from_pretrained(str(folder), local_files_only=True)
    fill.set_progress_bar_config(disable=True)
    mask = Box.of(BOX).mask(64, 64)
    background = np.random.default_rng(0).random((64, 64, 3), np.float32)
    background[mask == 1] = 0.5  # Flux-Fill blanks the box to neutral grey; BFS shows it
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    pipe = load(folder)
    ours = pipe(background, BOX, "a ball", latents=noise, num_inference_steps=3, output_type="latent")
    tokens, pooled = pipe.encode_prompt(["a ball"])
    prompt = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
    picture = {"image": background[None], "mask_image": mask[None, ..., None], "height": 64, "width": 64}
    theirs = fill(**picture, **prompt, latents=pack(noise), num_inference_steps=3, guidance_scale=30.0, output_type="latent").images
    for branch in (ours.composites[0], ours.foregrounds[0]):
        torch.testing.assert_close(branch, theirs[0], atol=SAMPLING, rtol=0)


def test_a_trained_model_points_to_it(copied: Path, tmp_path: Path) -> None:
    """The pointer holds path, content hash and licence; the model loads again, gated; a changed base is refused."""
    pipe = load(copied)
    with torch.no_grad():
        pipe.sharing.blocks[0].lora.up.fill_(0.25)
    pipe.untrained = ("rgba_vae", "compositor")  # what was not trained is not written
    bundle.save_model(pipe, tmp_path / "model", bundle.root_of(copied), {"training": {}})
    pointer = bundle.read(tmp_path / "model")["body"]["base"]
    assert pointer == {"name": str(copied), "content_hash": bundle.content_hash(copied), "licence": licence.FLUX_LICENCE}
    loaded = load(tmp_path / "model")
    assert (loaded.sharing.blocks[0].lora.up == 0.25).all() and loaded.sharing.dtype == torch.float32
    assert bundle.root_of(tmp_path / "model") == str(copied)
    with pytest.raises(BadInput, match="Non-Commercial"):
        BFSPipeline.from_pretrained(tmp_path / "model")
    (copied / "README.md").write_text("a file that nothing loads")
    load(tmp_path / "model")
    random_flux_fill(copied, seed=1)
    with pytest.raises(IntegrityError, match="was trained on"):
        load(tmp_path / "model")


def test_only_whole_folders_of_safetensors_are_loaded(copied: Path) -> None:
    """A pickle instead of safetensors, a missing shard, a missing part, and a backbone that is no Fill model are named."""
    transformer = FluxTransformer2DModel.from_pretrained(copied / "transformer")
    weights = copied / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BadInput, match=r"transformer/diffusion_pytorch_model\.bin is a pickle"):
        load(copied)
    weights.with_suffix(".bin").unlink()
    with pytest.raises(BadInput, match="holds no weights in safetensors"):
        load(copied)
    transformer.save_pretrained(copied / "transformer", max_shard_size="100KB")
    shard = sorted((copied / "transformer").glob("*-00002-of-*.safetensors"))[0]
    assert load(copied).transformer.config.in_channels == 384
    shard.unlink()
    with pytest.raises(BadInput, match=f"{shard.name} is listed in the index and missing"):
        load(copied)
    shutil.rmtree(copied / "transformer")
    with pytest.raises(BadInput, match="lacks transformer"):
        load(copied)
    plain = FluxTransformer2DModel.from_config({**transformer.config, "in_channels": 64})
    plain.save_pretrained(copied / "transformer")
    with pytest.raises(BadInput, match="takes 64 channels, an inpainting transformer with this VAE takes 384"):
        load(copied)


def test_a_window_must_fit_the_latents(folder: Path) -> None:
    """A size that the VAE and the patches of two do not divide is refused with one that they do."""
    with pytest.raises(BadInput, match="window_size=72 is not a multiple of 16; use 64"):
        load(folder, window_size=72)


def _cached(folder: Path, cache: Path) -> None:
    """Put a folder where the hub's client looks for `someone/fill`."""
    home = cache / "models--someone--fill"
    shutil.copytree(folder, home / "snapshots" / ("a" * 40))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("a" * 40)


def test_a_hub_id_comes_from_the_cache_or_says_why_not(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: the licence first, then one clear line; with a whole snapshot in the cache, the model."""
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match="Non-Commercial"):
        BFSPipeline.from_pretrained("someone/fill")
    with pytest.raises(BadInput, match="model=someone/fill is no folder and cannot be downloaded") as caught:
        load("someone/fill")
    assert "\n" not in str(caught.value)
    _cached(folder, tmp_path)
    pipe = load("someone/fill")
    assert pipe.source == "someone/fill" and bundle.root_of("someone/fill") == "someone/fill" == bundle.absolute("someone/fill")
    bundle.save_model(pipe, tmp_path / "model", "someone/fill", {})
    assert load(tmp_path / "model").source.startswith(str(tmp_path / "model"))
    assert bundle.content_hash("someone/fill") == bundle.content_hash(folder)


def test_what_is_and_is_not_a_hub_id(tmp_path: Path) -> None:
    """OWNER/NAME is one, unless a folder of that name is here; paths and registry names are none."""
    assert foreign.is_hub_id("black-forest-labs/FLUX.1-Fill-dev")
    for name in ("tiny", "a/b/c", "/a/b", "./b", "../b", "models:/bfs@champion", tmp_path, str(tmp_path)):
        assert not foreign.is_hub_id(name), name


def test_a_mistyped_path_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its first part is a folder here, the name is a path: the error speaks of folders, not of a licence."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not foreign.is_hub_id("out/stag2") and foreign.is_hub_id("other/stag2")
    with pytest.raises(BadInput, match="out/stag2 is not a folder"):
        BFSPipeline.from_pretrained("out/stag2")


def test_a_bundle_of_its_weights_stays_behind_the_licence(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved as a bundle of ours, and under a model trained on that: the licence is named in both manifests, and asked for."""
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    pipe = load(copied)
    pipe.save_pretrained(tmp_path / "bundle")
    assert bundle.read(tmp_path / "bundle")["body"]["licence"] == licence.FLUX_LICENCE
    bundle.save_model(pipe, tmp_path / "model", str(tmp_path / "bundle"), {})
    for made in ("bundle", "model"):
        with pytest.raises(BadInput, match="Non-Commercial"):
            BFSPipeline.from_pretrained(tmp_path / made)
        assert load(tmp_path / made).licence == licence.FLUX_LICENCE


def test_a_bundle_needs_no_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is for FLUX alone."""
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    assert BFSPipeline.from_pretrained(random_bundle(tmp_path / "bundle")).config.window_size == 32
