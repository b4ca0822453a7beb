"""The critic: its figure by hand, what it can tell and what it cannot, and its job on two real evaluations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.entry.critic import main, read_pairs
from bfs_platform.evaluate.run.critic import Pairs, area_under_curve, judge, train_critic
from bfs_platform.evaluate.spec import CriticSpec

SMALL = CriticSpec(side=32, width=8, num_steps=60, batch_size=16, seeds=(1, 2), lr=3e-3)


def test_the_area_by_hand() -> None:
    """Of six pairs the positive wins four, ties one: 4.5 / 6."""
    assert area_under_curve(np.array([3.0, 2.0]), np.array([1.0, 2.0, 2.5])) == pytest.approx((3 + 1.5) / 6)
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_curve(np.array([1.0]), np.array([1.0])) == 0.5


def _scenes(seed: int, count: int) -> torch.Tensor:
    """Smooth pictures."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


def test_a_critic_tells_blotches_and_not_what_is_alike() -> None:
    """Pictures with speckles are told from clean ones of scenes it never saw; ones that differ in nothing are not."""
    fit, held_out = _scenes(1, 40), _scenes(2, 30)
    speckles = 0.3 * torch.randn(40, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    found = judge(
        {"blotchy": Pairs(fit, fit + speckles), "alike": Pairs(fit, fit.clone())},
        {"blotchy": Pairs(held_out, held_out + speckles[:30]), "alike": Pairs(held_out, held_out.clone())},
        SMALL,
    )
    assert float(str(found["blotchy"]["auc"])) > 0.95
    assert found["alike"] == {"auc": 0.5, "spread": 0.0, "by_seed": [0.5, 0.5]}


def test_a_training_repeats_to_the_last_bit() -> None:
    """A critic depends on its pictures and its seed, not on the state of the global generator."""
    pairs = Pairs(_scenes(1, 12), _scenes(2, 12))
    first, again, other = (train_critic(pairs, SMALL.model_copy(update={"num_steps": 5}), seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def _evaluation(folder: Path, seed: int, count: int, model: str = "m", truth: bool = True) -> Path:
    """What an evaluation leaves of which the job reads: pictures of a model that speckles, and its figures."""
    systems = ["model", *["truth"] * truth]
    with integrity.staged(folder, "evaluation") as staging:
        rng = np.random.default_rng(seed)
        for number in range(count):
            background = np.full((48, 48, 3), rng.integers(60, 200, 3), np.uint8)
            composite = background.copy()
            composite[10:30, 12:36] = rng.integers(0, 255, 3)
            noisy = np.clip(composite + rng.normal(0, 30, composite.shape), 0, 255).astype(np.uint8)
            for name, picture in (("input", background), ("0-model/composite", noisy), ("1-truth/composite", composite)):
                path = staging / "pictures" / f"{number:05d}" / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
        (staging / "metrics.json").write_text(json.dumps({"format": "bfs-evaluation/1", "systems": {name: {} for name in systems}}))
        integrity.commit(staging, folder, "evaluation", {"list_hash": str(seed), "model": {"content_hash": model}})
    return folder


def test_scenes_that_lack_a_picture_are_left_out(tmp_path: Path) -> None:
    """Where the model failed nothing was kept of it, the background neither; below two scenes there is nothing to learn from."""
    folder = _evaluation(tmp_path / "some", 1, 4)
    for name in ("input", "0-model/composite"):
        (folder / "pictures" / "00001" / f"{name}.png").unlink()
    (pairs,) = read_pairs(folder, CriticSpec(side=32)).values()
    assert len(pairs.real) == 3
    with pytest.raises(BadInput, match="fewer than two scenes"):
        read_pairs(_evaluation(tmp_path / "one", 2, 1), CriticSpec(side=32))


def test_the_job_judges_on_other_scenes(tmp_path: Path) -> None:
    """Figures of every system but the truth, in a committed folder; the same scenes, or another model, are refused."""
    train, held_out = _evaluation(tmp_path / "train", 1, 24), _evaluation(tmp_path / "held_out", 2, 20)
    changes = [part for change in ("side=32", "width=8", "num_steps=60", "batch_size=16", "seeds=[1]") for part in ("--set", change)]
    manifest = main(["--train", str(train), "--held-out", str(held_out), "--output", str(tmp_path / "critic"), *changes])
    body = integrity.verify(manifest.parent, "critic")["body"]
    assert list(body["systems"]) == ["model"] and body["systems"]["model"]["auc"] > 0.7
    assert body["num_scenes"] == {"train": 24, "held_out": 20}
    with pytest.raises(BadInput, match="shows the scenes that are trained on"):
        main(["--train", str(train), "--held-out", str(train), "--output", str(tmp_path / "no")])
    other = _evaluation(tmp_path / "other", 3, 4, model="n")
    with pytest.raises(BadInput, match="is of another model"):
        main(["--train", str(train), "--held-out", str(other), "--output", str(tmp_path / "no")])
    with pytest.raises(BadInput, match="has no true composites"):
        read_pairs(_evaluation(tmp_path / "bare", 4, 4, truth=False), SMALL)
    with pytest.raises(BadInput, match="kept no pictures"):
        read_pairs(_evaluation(tmp_path / "empty", 5, 0), SMALL)
