"""What `infra/crisp` sends to an accelerator and takes back: the sets, nine minutes of training (here seconds), the bundle."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training
from safetensors.torch import load_file

from bfs_model import BFSPipeline
from bfs_platform.data.shard.reading import open_dataset

_PIECE = 16 * 2**20


def _run(root: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "infra" / "crisp" / script), *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def packed(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Path]]:
    """The base, the folder that was packed of it, and the sets."""
    root = tmp_path_factory.mktemp("packed")
    base = training.write_base(root / "base")
    sets = {name: training.write_set(root / name, stage, base) for name, stage in (("natural", 2), ("synthetic", 1), ("validation", 2))}
    given = [word for name, folder in sets.items() for word in ("--set", f"{name}={folder}")]
    done = _run(repo_root, "packed.py", "pack", "--base", base, *given, "--output", root / "packed")
    assert done.returncode == 0, done.stderr[-4000:]
    return base, root / "packed", sets


def test_a_packed_set_is_the_set(repo_root: Path, packed: tuple[Path, Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Records in their order, latents to a hundredth of their spread, each with the prompt of its caption or, dropped, with none."""
    monkeypatch.syspath_prepend(str(repo_root / "infra" / "crisp"))
    from packed_set import PackedSet

    base, folder, sets = packed
    for name, place in sets.items():
        dataset, small = open_dataset(place), PackedSet.load(folder / f"{name}.set.safetensors", torch.device("cpu"))
        rows = np.arange(len(dataset))
        batch = small.batch(torch.from_numpy(rows), torch.tensor([True] + [False] * (len(rows) - 1)))
        assert list(batch.ids) == dataset.take(rows, ["id"])["id"]
        for mine, column in ((batch.z_comp, "z_comp_mean"), (batch.z_fg, "z_fg_mean"), (batch.z_bg, "z_bg_mean")):
            true = torch.from_numpy(dataset.latents(column, rows))
            assert (mine - true).abs().max() <= 0.01 * true.abs().max()
        prompts = torch.from_numpy(dataset.prompt_embeds(rows))
        torch.testing.assert_close(batch.prompt_embeds[1:], prompts[1:], atol=0.01, rtol=0.01)
        nothing = BFSPipeline.from_pretrained(base).encode_prompt([""])[0]
        torch.testing.assert_close(batch.prompt_embeds[:1], nothing, atol=0.01, rtol=0.01)


def test_from_the_pack_to_a_bundle(repo_root: Path, packed: tuple[Path, Path, dict[str, Path]], tmp_path: Path) -> None:
    """Every phase trains its network and says so; pieces fit their limit; the bundle draws with what came back."""
    base, folder, _ = packed
    sent, joined = tmp_path / "sent", tmp_path / "joined"
    done = _run(
        repo_root, "accelerator.py", "--packed", folder, "--output", sent, "--seconds", 2, 2, 1, "--batch-factor", 1, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line) for line in (sent / "losses.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == ["crisp_backbone", "crisp_stage1", "crisp_stage2"]
    assert all(np.isfinite([v for v in line.values() if isinstance(v, float)]).all() for line in lines)
    pieces = list(sent.glob("*.safetensors"))
    assert pieces and max(path.stat().st_size for path in pieces) <= _PIECE

    done = _run(repo_root, "packed.py", "join", "--base", base, "--weights", sent, "--output", joined)
    assert done.returncode == 0, done.stderr[-4000:]
    before, after = BFSPipeline.from_pretrained(base), BFSPipeline.from_pretrained(joined / "bundle")
    for part in ("transformer", "sharing"):
        old, new = getattr(before, part).state_dict(), getattr(after, part).state_dict()
        assert any(not torch.equal(old[name], new[name]) for name in old)
    stage2 = load_file(sent / "sharing-stage2-0.safetensors")
    torch.testing.assert_close({name: value.float() for name, value in stage2.items()}, dict(after.sharing.state_dict()))
    assert "sharing" not in after.untrained


def test_what_is_missing_is_named(repo_root: Path, packed: tuple[Path, Path, dict[str, Path]], tmp_path: Path) -> None:
    """Exit code 2 and one line, and nothing is written."""
    base, _, sets = packed
    done = _run(repo_root, "packed.py", "pack", "--base", base, "--set", f"natural={sets['natural']}", "--output", tmp_path / "none")
    assert done.returncode == 2 and "lacks synthetic" in done.stderr and "Traceback" not in done.stderr
    done = _run(repo_root, "packed.py", "join", "--base", base, "--weights", tmp_path / "none", "--output", tmp_path / "joined")
    assert done.returncode == 2 and "holds no losses.jsonl" in done.stderr and not (tmp_path / "joined").exists()
    assert not (tmp_path / "none").exists()
