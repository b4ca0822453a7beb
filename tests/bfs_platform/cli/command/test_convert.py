"""`bfs convert`: from a file of released weights to a model folder that draws."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from bfs_model import BFSPipeline
from bfs_model.tiny.components import TEST, random_bundle
from bfs_model.weight import bundle


def _released(path: Path) -> Path:
    """Weights of rank 2 for the geometry of the tests."""
    dim = TEST.head_dim * TEST.num_heads
    state = {}
    for block in ("transformer_blocks.0", "single_transformer_blocks.0", "single_transformer_blocks.1"):
        for name in ("to_q", "to_k", "to_v", *(("to_out.0",) if block.startswith("transformer") else ())):
            for branch in ("xy", "yx"):
                state[f"{block}.attn1n.{name}.lora_A.{branch}_lora.weight"] = torch.ones(2, dim)
                state[f"{block}.attn1n.{name}.lora_B.{branch}_lora.weight"] = torch.ones(dim, 2)
        state[f"{block}.conv1n.weight"] = torch.eye(dim)
    save_file(state, path)
    return path


def test_released_weights_become_a_model(bfs, tmp_path) -> None:
    """The summary names base, rank and content hash; the folder loads with the release's architecture."""
    base, released = random_bundle(tmp_path / "base"), _released(tmp_path / "trained.safetensors")
    result = bfs("convert", "--released", released, "--base", base, "--output", tmp_path / "model", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["rank"], summary["base"]) == (2, str(base))
    assert summary["content_hash"] == bundle.content_hash(tmp_path / "model")
    sharing = BFSPipeline.from_pretrained(tmp_path / "model").sharing
    assert sharing.config["num_projected"] == 1
    assert sharing.config["text_messages"]
    assert torch.equal(sharing.blocks[2].mixer.out.weight, torch.eye(TEST.head_dim * TEST.num_heads))


def test_a_pickle_is_refused_in_one_line(bfs, tmp_path) -> None:
    """Exit code 2, and how to convert it; no folder is written."""
    torch.save({}, tmp_path / "trained.pt")
    result = bfs("convert", "--released", tmp_path / "trained.pt", "--base", "tiny", "--output", tmp_path / "model")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "weights_only=True" in result.stderr
    assert not (tmp_path / "model").exists()
