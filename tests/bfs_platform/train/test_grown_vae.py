"""A fresh bundle begins with what fits of one that is trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.tiny.components import TEST, random_bundle, random_components
from bfs_model.tiny.growth import take_outer_layers
from bfs_model.weight import bundle
from bfs_platform.config import resolve
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.spec import TrainSpec


def test_layers_are_taken_by_their_distance_from_the_pixels() -> None:
    """The encoder's first levels and the decoder's last ones, as far as their shapes agree; the rest stays as it was."""
    small = random_components(replace(TEST, vae_channels=(8, 16, 24)), seed=1)["vae"]
    large = random_components(replace(TEST, vae_channels=(8, 16, 24, 32), latent_channels=8), seed=2)["vae"]
    before = {name: value.clone() for name, value in large.state_dict().items()}
    take_outer_layers(large, small)
    after, given = large.state_dict(), small.state_dict()
    # Biases start at zero and norms at one in both.
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    expected = {
        "encoder.conv_in.weight",
        "encoder.down_blocks.0.downsamplers.0.conv.weight",
        "encoder.down_blocks.2.resnets.0.conv2.weight",
    }
    expected |= {"decoder.conv_out.weight", "decoder.up_blocks.3.resnets.0.conv1.weight", "decoder.up_blocks.2.resnets.0.conv1.weight"}
    assert expected <= changed
    assert torch.equal(after["decoder.up_blocks.3.resnets.0.conv1.weight"], given["decoder.up_blocks.2.resnets.0.conv1.weight"])
    assert torch.equal(after["encoder.down_blocks.1.resnets.0.conv1.weight"], given["encoder.down_blocks.1.resnets.0.conv1.weight"])
    assert not any(
        name.startswith(("encoder.mid_block", "decoder.mid_block", "encoder.down_blocks.3", "decoder.up_blocks.0")) for name in changed
    )


def test_a_vae_of_more_levels_gives_nothing() -> None:
    """Growing goes one way, and needs a layer that fits."""
    small = random_components(replace(TEST, vae_channels=(8, 8)), seed=1)["vae"]
    large = random_components(TEST, seed=2)["vae"]
    with pytest.raises(BadInput, match="has a VAE of more levels"):
        take_outer_layers(small, large)


def test_a_bundle_of_other_latents_grows(tmp_path: Path) -> None:
    """Blocks, sharing weights and known words are the other's, prompts of such words encode alike; what meets latents is fresh."""
    small = random_bundle(tmp_path / "small", TEST, ("a red cube", "a red cone"), seed=1)
    wider = replace(TEST, vae_channels=(8, 8, 8, 8), latent_channels=8)
    large = random_bundle(
        tmp_path / "large", wider, ("a red cube", "a blue cube"), seed=2, untrained=bundle.TRAINED_PARTS, grown_from=str(small)
    )
    own, other = BFSPipeline.from_pretrained(large), BFSPipeline.from_pretrained(small)
    blocks, given = own.transformer.state_dict(), other.transformer.state_dict()
    changed = {name for name, value in blocks.items() if not torch.equal(value, given[name])}
    assert changed == {"x_embedder.weight", "proj_out.weight", "proj_out.bias"}
    assert all(torch.equal(value, other.sharing.state_dict()[name]) for name, value in own.sharing.state_dict().items())
    assert set(own.untrained) == {"rgba_vae", "compositor"}
    for mine, theirs in zip(own.encode_prompt(["a red cube"]), other.encode_prompt(["a red cube"]), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not torch.equal(own.encode_prompt(["a blue cube"])[1], other.encode_prompt(["a blue cube"])[1])


def test_only_a_fresh_base_grows(tmp_path: Path, base: Path) -> None:
    """A base that is there would lose what it has learned."""
    spec = resolve("crisp_rgb_vae", [], TrainSpec)
    with pytest.raises(BadInput, match="network.grown_from='?tiny'? is where a fresh base begins"):
        fit(spec, str(base), [], tmp_path / "run")
