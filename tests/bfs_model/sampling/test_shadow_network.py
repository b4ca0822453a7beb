"""The learned shadow: a Control-LoRA of Flux, and the layer read off what it draws."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_model.latent import flow, latents
from bfs_model.network.shadow import ProceduralShadow, layer_from_white, over, shadow_over_white
from bfs_model.picture.compositing import composite
from bfs_model.sampling import shadow_network
from bfs_model.sampling.shadow_network import LearnedShadow, ShadowSettings, control_transformer
from bfs_model.tiny.components import TEST, random_bundle, random_components
from bfs_model.tiny.flux_fill import FLUX, random_flux_fill

RANK = 3


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Components of a small bundle whose backbone is a Flux-Fill."""
    return random_components(TEST)


def _stirred(transformer: Any, seed: int = 0) -> Any:
    """The same with a LoRA that does something."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return transformer


def _layer(height: int = 30, width: int = 27) -> np.ndarray:
    layer = np.zeros((height, width, 4), np.float32)
    layer[8:17, 9:16] = (0.7, 0.3, 0.2, 1)
    layer[8:17, 16] = (0.7, 0.3, 0.2, 0.4)
    return layer


def test_the_weights_are_those_of_the_base(parts: dict[str, Any]) -> None:
    """All but the widened embedding and the LoRA, in the base's precision: nothing of FLUX's size lies in memory twice."""
    base = copy.deepcopy(parts["transformer"])
    for parameter in base.parameters():
        parameter.data = parameter.data.bfloat16()
    made = control_transformer(base, RANK)
    own = {p.data_ptr(): n for n, p in made.named_parameters() if ".lora_" not in n}
    apart = own.keys() - {p.data_ptr() for p in base.parameters()}
    assert [own[pointer] for pointer in apart] == ["x_embedder.base_layer.weight"] and len(own) > 20


@torch.no_grad()
def test_a_fresh_network_ignores_its_controls(parts: dict[str, Any]) -> None:
    """At first it is the base on the noisy latent alone: controls change nothing; exactly the LoRA is trainable."""
    transformer = control_transformer(parts["transformer"], RANK)
    channels = TEST.latent_channels
    assert transformer.config.in_channels == 4 * 4 * channels and transformer.config.out_channels == 4 * channels
    trainable = {n for n, p in transformer.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in transformer.named_parameters() if ".lora_" in n}
    # Six layers of attention of a double block, two more that it outputs through, four feed-forward; three of a single block.
    assert len(trainable) == 2 * (1 + TEST.num_double * (8 + 4) + TEST.num_single * 3)
    x, sigma = torch.randn(2, channels, 4, 6), torch.tensor([0.3, 0.8])
    prompt = torch.randn(1, 5, TEST.text_dim), torch.randn(1, TEST.text_dim)
    one, other = (shadow_network.velocity(transformer, x, torch.randn(2, 3 * channels, 4, 6), sigma, prompt, 3.5) for _ in range(2))
    assert torch.equal(one, other)
    fill = parts["transformer"]
    rest = torch.zeros(2, 6, fill.config.in_channels - 4 * channels)
    plain = fill(
        hidden_states=torch.cat([latents.pack(x), rest], dim=-1),
        encoder_hidden_states=prompt[0].expand(2, -1, -1),
        pooled_projections=prompt[1].expand(2, -1),
        timestep=sigma,
        img_ids=latents.image_ids(4, 6),
        txt_ids=latents.text_ids(5),
        return_dict=False,
    )[0]
    torch.testing.assert_close(one, latents.unpack(plain, 4, 6), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_controls_are_picture_object_and_mask(parts: dict[str, Any]) -> None:
    """In that order: the object's part sees nothing of the rest, the mask is nearest, in every channel."""
    picture, mask = torch.rand(1, 3, 24, 32) * 2 - 1, torch.zeros(1, 1, 24, 32)
    mask[..., 8:16, 12:28] = 1
    controls = shadow_network.control_latents(parts["vae"], picture, mask)
    first, second, third = controls.chunk(3, dim=1)
    other = torch.where(mask > 0, picture, torch.rand(1, 3, 24, 32))
    changed = shadow_network.control_latents(parts["vae"], other, mask).chunk(3, dim=1)
    assert first.shape == (1, TEST.latent_channels, 6, 8) and not torch.equal(first, changed[0])
    assert torch.equal(second, changed[1])
    assert torch.equal(third, mask[..., ::4, ::4].expand_as(third))


def test_only_controls_teach_the_shadow(parts: dict[str, Any]) -> None:
    """One step of training moves the LoRA, and then the controls matter."""
    transformer = control_transformer(parts["transformer"], RANK)
    optimizer = torch.optim.Adam([p for p in transformer.parameters() if p.requires_grad], lr=1e-2)
    z, noise = torch.randn(2, 2, TEST.latent_channels, 4, 4).unbind(0)
    controls, sigma = torch.randn(2, 3 * TEST.latent_channels, 4, 4), torch.tensor([0.4, 0.6])
    prompt = torch.randn(1, 5, TEST.text_dim), torch.randn(1, TEST.text_dim)
    for _ in range(2):  # the first moves B off zero, the second A
        out = shadow_network.velocity(transformer, flow.noised(z, noise, sigma), controls, sigma, prompt, 3.5)
        optimizer.zero_grad()
        (out - flow.velocity_target(z, noise)).square().mean().backward()
        optimizer.step()
    gradients = {n: p.grad for n, p in transformer.named_parameters() if p.requires_grad}
    assert all(g is not None and g.abs().sum() > 0 for n, g in gradients.items() if "x_embedder" in n)
    with torch.no_grad():
        one, other = (shadow_network.velocity(transformer, z, c, sigma, prompt, 3.5) for c in (controls, -controls))
    assert not torch.equal(one, other)


def test_a_layer_comes_back_with_a_shadow(parts: dict[str, Any]) -> None:
    """Any size works; solid pixels stay, what is new is black; the same seed gives the same layer; no object, no shadow."""
    prompt = torch.zeros(1, 5, TEST.text_dim), torch.zeros(1, TEST.text_dim)
    transformer = _stirred(control_transformer(parts["transformer"], RANK))
    provider = LearnedShadow(transformer, parts["vae"], parts["scheduler"], prompt, ShadowSettings(RANK, num_steps=2))
    layer = _layer()
    out = provider.add_shadow(layer, 7)
    solid = layer[..., 3] == 1
    assert out.shape == layer.shape and np.allclose(out[solid], layer[solid], atol=1e-6)
    assert (out[layer[..., 3] == 0][:, :3] == 0).all() and (out[..., 3] > layer[..., 3]).any()
    assert np.array_equal(out, provider.add_shadow(layer, 7)) and not np.array_equal(out, provider.add_shadow(layer, 8))
    nothing = np.zeros_like(layer)
    assert provider.add_shadow(nothing, 7) is not None and not provider.add_shadow(nothing, 7).any()


def test_what_a_vae_gets_wrong_is_no_shadow(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that changes nothing adds nothing, however bad the VAE: its own error is taken out."""
    prompt = torch.zeros(1, 5, TEST.text_dim), torch.zeros(1, TEST.text_dim)
    provider = LearnedShadow(
        control_transformer(parts["transformer"], RANK), parts["vae"], parts["scheduler"], prompt, ShadowSettings(RANK)
    )
    monkeypatch.setattr(provider, "draw", lambda picture, mask, seeds: shadow_network.encoding.encode_images(parts["vae"], picture)[0])
    layer = _layer()
    np.testing.assert_allclose(provider.add_shadow(layer, 1), layer, atol=1e-5)


def test_over_white_and_back() -> None:
    """A photographed shadow, put over white and read off again, is the shadow's alpha where the object leaves the ground bare."""
    layer = _layer(40, 40)
    shadowed = ProceduralShadow(reflection_chance=0.0).add_shadow(layer, 5)
    ground = np.broadcast_to(np.float32([0.5, 0.6, 0.3]), (40, 40, 3))
    with_shadow, without = composite(shadowed, ground), composite(layer, ground)
    white = shadow_over_white(with_shadow, without, layer)
    bare = layer[..., 3] == 0
    np.testing.assert_allclose(white[bare], 1 - shadowed[bare][:, 3:].repeat(3, axis=1), atol=1e-3)
    np.testing.assert_allclose(layer_from_white(white, layer)[bare], shadowed[bare], atol=1e-3)
    assert np.allclose(shadow_over_white(without, without, layer), composite(layer, np.ones_like(ground)), atol=1e-6)
    night = shadow_over_white(with_shadow * 0.01, without * 0.01, layer)
    assert np.allclose(night, composite(layer, np.ones_like(ground)), atol=1e-6), "ground too dark to tell has no shadow"
    assert over(layer, shadowed).shape == layer.shape


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LearnedShadow]:
    """A stored network and the one that it was stored from."""
    root = tmp_path_factory.mktemp("shadow")
    base = random_bundle(root / "base")
    pipe = BFSPipeline.from_pretrained(base)
    prompt = pipe.encode_prompt([shadow_network.PROMPT])
    transformer = _stirred(control_transformer(pipe.transformer, RANK))
    settings = ShadowSettings(RANK, num_steps=2)
    shadow_network.save(
        shadow_network.lora_state(transformer), prompt, settings, str(base), root / "run" / shadow_network.KIND, {"seen": 1}
    )
    return root, LearnedShadow(transformer, pipe.vae, pipe.scheduler, prompt, settings)


def test_a_stored_network_draws_the_same(stored: tuple[Path, LearnedShadow]) -> None:
    """Saved as safetensors under diffusers' names and loaded by the run's folder, it draws the same layer; steps can be changed."""
    root, provider = stored
    folder = root / "run" / shadow_network.KIND
    assert {p.suffix for p in folder.iterdir()} == {".safetensors", ".json"}
    assert "transformer.x_embedder.lora_A.weight" in load_file(folder / shadow_network.LORA_FILE)
    loaded = LearnedShadow.load(root / "run")
    assert loaded.settings == provider.settings and LearnedShadow.load(folder, num_steps=5).settings.num_steps == 5
    np.testing.assert_array_equal(loaded.add_shadow(_layer(), 7), provider.add_shadow(_layer(), 7))


def test_missing_and_damaged_networks_are_named(stored: tuple[Path, LearnedShadow], tmp_path: Path) -> None:
    """No network, a flipped bit, and another base are one clear error each."""
    root, _ = stored
    with pytest.raises(BadInput, match=r"holds no shadow network; train one with jobs/train_shadow\.py"):
        LearnedShadow.load(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(root / "run" / shadow_network.KIND, damaged)
    data = bytearray((damaged / shadow_network.LORA_FILE).read_bytes())
    data[-1] ^= 1
    (damaged / shadow_network.LORA_FILE).write_bytes(data)
    with pytest.raises(IntegrityError, match="is damaged"):
        LearnedShadow.load(damaged)
    body = json.loads((root / "run" / shadow_network.KIND / integrity.MANIFEST).read_text())["body"]
    other = random_bundle(tmp_path / "other", seed=1)
    shutil.rmtree(damaged)
    shutil.copytree(root / "run" / shadow_network.KIND, damaged)
    (damaged / integrity.MANIFEST).unlink()
    integrity.write_manifest(damaged, shadow_network.KIND, {**body, "base": {**body["base"], "name": str(other)}})
    with pytest.raises(IntegrityError, match="was trained on"):
        LearnedShadow.load(damaged)


def test_flux_fill_as_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a folder in FLUX.1-Fill's layout, in bf16 and with guidance embedded: stored, loaded, and drawn with."""
    monkeypatch.setenv("BFS_ACCEPT_FLUX_LICENCE", "1")
    base = random_flux_fill(tmp_path / "fill")
    pipe = BFSPipeline.from_pretrained(base, dtype="bf16")
    transformer = _stirred(control_transformer(pipe.transformer, RANK))
    assert transformer.config.in_channels == 256 and transformer.config.guidance_embeds
    prompt = torch.zeros(1, 5, FLUX.text_dim), torch.zeros(1, FLUX.text_dim)
    drawn = LearnedShadow(transformer, pipe.vae, pipe.scheduler, prompt, ShadowSettings(RANK, num_steps=2)).add_shadow(_layer(), 7)
    assert np.isfinite(drawn).all()
    settings = ShadowSettings(RANK, num_steps=2)
    shadow_network.save(shadow_network.lora_state(transformer), prompt, settings, str(base), tmp_path / "network", {})
    loaded = LearnedShadow.load(tmp_path / "network").add_shadow(_layer(), 7)
    assert loaded.shape == drawn.shape and np.isfinite(loaded).all()
