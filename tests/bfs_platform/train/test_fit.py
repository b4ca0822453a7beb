"""Whole training runs in the calling process: every network, resume, and faults."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_model.tiny.components import random_bundle
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train import loop
from bfs_platform.train.launch import launch
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.network.rgba_vae import RgbaVaeTask
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import engine

SHORT = [
    "num_workers=0",
    "threads_per_worker=1",
    "batch_size=4",
    "micro_batch_size=2",
    "num_steps=4",
    "checkpoint.every_steps=2",
    "sample_every_steps=100",
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


def spec_of(recipe: str, *changes: str) -> TrainSpec:
    """A recipe made short enough for a test."""
    return resolve(recipe, [*SHORT, *changes], TrainSpec)


def weights_of(manifest: Path, part: str) -> dict[str, torch.Tensor]:
    """Trained weights of one part of a result."""
    return load_file(manifest.parent / part / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("recipe", "stages", "part"),
    [
        ("tabletop_rgb_vae", (2,), "vae"),
        ("tabletop_rgba_vae", (1,), "rgba_vae"),
        ("tabletop_backbone", (2,), "transformer"),
        ("tabletop_compositor", (1,), "compositor"),
        ("tabletop_stage1", (1,), "sharing"),
        ("tabletop_stage2", (1, 2), "sharing"),
        ("crisp_backbone", (2,), "transformer"),
        ("crisp_stage1", (1,), "sharing"),
    ],
)
def test_every_network_trains_and_its_result_loads(
    recipe: str, stages: tuple[int, ...], part: str, base: Path, datasets: dict[int, Path], tmp_path: Path
) -> None:
    """One loop trains each network: its part changes, the result draws a layer, and its manifest names its data."""
    manifest = fit(spec_of(recipe, "optimizer.lr=1e-2"), str(base), [datasets[s] for s in stages], tmp_path / "run")
    assert any(
        before.shape != after.shape or (before != after).any()
        for before, after in zip(weights_of(base / "manifest.json", part).values(), weights_of(manifest, part).values(), strict=True)
    )
    body = integrity.verify(manifest.parent)["body"]["training"]
    assert body["recipe"] == recipe and [d["stage"] for d in body["datasets"]] == list(stages)
    losses = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 4 and losses[-1]["grad_norm"] > 0
    pipe = BFSPipeline.from_pretrained(tmp_path / "run")
    pipe.set_progress_bar_config(disable=True)
    assert pipe(torch.zeros(32, 32, 3).numpy(), (4, 4, 20, 20), "a cube", seed=1, num_inference_steps=2).foregrounds[0].size == (32, 32)


@pytest.mark.parametrize(("part", "stage", "more"), [("rgba_vae", 1, ["network.init=base"]), ("vae", 2, ["network.noise=0.4"])])
def test_a_decoder_can_learn_alone(part: str, stage: int, more: list[str], base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """With `decoder_only` no bit of the encoder or the scale of the latents changes: what was trained on them keeps its worth."""
    recipe = "tabletop_rgba_vae" if part == "rgba_vae" else "tabletop_rgb_vae"
    spec = spec_of(recipe, "optimizer.lr=1e-2", "network.decoder_only=true", *more)
    manifest = fit(spec, str(base), [datasets[stage]], tmp_path / "run")
    before, after = weights_of(base / "manifest.json", part), weights_of(manifest, part)
    assert (manifest.parent / part / "config.json").read_text() == (base / part / "config.json").read_text()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_decoder_is_shown_latents_that_are_off(
    noise: float, base: Path, datasets: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `noise` each sample's latents are spread further than the posterior, by as much as its own draw says; without, not at all."""
    spec = spec_of("tabletop_rgba_vae", "network.init=base", f"network.noise={noise}")
    task = RgbaVaeTask(spec, spec.network, str(base), {"synthetic": open_dataset(datasets[1])})
    _, (layers, normal, spread) = task.batch("synthetic", np.arange(4), 3)
    vae, shown = task.module.vae, []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda latents, **options: shown.append(latents) or decode(latents, **options))
    task.module(layers, normal, spread)
    posterior = vae.encode(layers).latent_dist
    expected = posterior.mean + (posterior.std.square() + spread.square()).sqrt() * normal
    torch.testing.assert_close(shown[0], expected, rtol=1e-3, atol=5e-3)
    assert spread.shape == (4, 1, 1, 1) and 0 <= spread.min() <= spread.max() <= noise / vae.config.scaling_factor
    assert len(spread.unique()) == (4 if noise else 1)


@pytest.mark.parametrize("recipe", ["tabletop_stage1", "tabletop_stage2"])
def test_a_continued_run_equals_an_undisturbed_one(
    recipe: str, base: Path, datasets: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps equal two, a crash in the third, and the rest: bitwise."""
    sets = [datasets[1], datasets[2]]
    whole = fit(spec_of(recipe), str(base), sets, tmp_path / "whole")
    original = loop.stop_unless_finite

    def crash(loss: torch.Tensor, ids: list[str], step: int) -> None:
        original(loss, ids, step)
        if step == 2:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_unless_finite", crash)
        with pytest.raises(Exception, match="power cut"):
            fit(spec_of(recipe), str(base), sets, tmp_path / "torn")
    assert not (tmp_path / "torn" / "model").exists()
    resumed = fit(spec_of(recipe), str(base), sets, tmp_path / "torn")
    one, two = weights_of(whole, "sharing"), weights_of(resumed, "sharing")
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    steps = [json.loads(line)["step"] for line in (tmp_path / "torn" / "losses.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_a_loss_that_is_not_finite_stops_before_the_update(
    base: Path, datasets: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN stops the run, names the samples, and writes no model."""
    from bfs_model import objectives

    monkeypatch.setitem(objectives.TERMS, "comp", lambda step: torch.tensor(float("nan")))
    with pytest.raises(Exception, match=r"samples 1-\d+, 1-\d+ at step 0 is not finite"):
        fit(spec_of("tabletop_stage1"), str(base), [datasets[1]], tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_gradient_that_is_not_finite_is_seen_without_zero(
    base: Path, datasets: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed tells no norm under ZeRO stage 0: it is logged all the same, and an infinite one ends the run."""
    spec = spec_of("tabletop_stage1", "zero.stage=0")
    fit(spec, str(base), [datasets[1]], tmp_path / "run")
    assert json.loads((tmp_path / "run" / "losses.jsonl").read_text().splitlines()[-1])["grad_norm"] > 0
    original = engine.wrap

    def wrap(*arguments: Any) -> Any:
        wrapped = original(*arguments)
        next(p for p in wrapped.module.parameters() if p.requires_grad).register_hook(lambda gradient: gradient * float("inf"))
        return wrapped

    monkeypatch.setattr(engine, "wrap", wrap)
    with pytest.raises(loop.NonFinite, match="The gradient at step 0 is not finite"):
        fit(spec, str(base), [datasets[1]], tmp_path / "broken")
    assert not (tmp_path / "broken" / "model").exists()


def test_a_finished_run_keeps_its_length(base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """Fewer steps than were made, and more of a cosine that has ended, are refused; what stands there stays what it says."""
    for schedule, num_steps, rule in (
        ("constant", 2, "num_steps=2 is less than the 4 steps"),
        ("cosine", 2, "another num_steps"),
        ("cosine", 8, "another num_steps"),
    ):
        output = tmp_path / schedule
        fit(spec_of("tabletop_stage1", f"optimizer.schedule={schedule}"), str(base), [datasets[1]], output)
        before = (output / "spec.json").read_text()
        with pytest.raises(BadInput, match=rule):
            fit(spec_of("tabletop_stage1", f"optimizer.schedule={schedule}", f"num_steps={num_steps}"), str(base), [datasets[1]], output)
        assert (output / "spec.json").read_text() == before
    fit(spec_of("tabletop_stage1", "optimizer.schedule=constant", "num_steps=6"), str(base), [datasets[1]], tmp_path / "constant")
    assert json.loads((tmp_path / "constant" / "spec.json").read_text())["spec"]["num_steps"] == 6


@pytest.mark.parametrize(("recipe", "stage"), [("tabletop_stage1", 1), ("tabletop_compositor", 1), ("tabletop_backbone", 2)])
def test_a_set_of_other_encoders_is_refused(recipe: str, stage: int, datasets: dict[int, Path], tmp_path: Path) -> None:
    """Latents and texts of another bundle are not what this one would learn from."""
    other = random_bundle(tmp_path / "other", seed=5)
    with pytest.raises(BadInput, match="was encoded by another vae than that of the base; build it again"):
        fit(spec_of(recipe), str(other), [datasets[stage]], tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_fresh_base_is_that_of_its_seed_and_captions(datasets: dict[int, Path], tmp_path: Path) -> None:
    """What an earlier run left is taken only if it is the same; asking what would happen leaves nothing."""
    spec = spec_of("tabletop_rgb_vae", "seed=3")
    fit(spec, "fresh", [datasets[2]], tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run.base").exists()
    made = launch._fresh_base([str(datasets[2])], tmp_path / "run", 3)
    assert launch._fresh_base([str(datasets[2])], tmp_path / "run", 3) == made
    with pytest.raises(BadInput, match="was made for another seed, for other captions"):
        fit(spec_of("tabletop_rgb_vae", "seed=4"), "fresh", [datasets[2]], tmp_path / "run")


def test_bad_inputs_are_named_before_anything_is_written(base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """A missing set, a missing model, a damaged shard and a foreign output are one clear error each."""
    with pytest.raises(BadInput, match="lacks the stage-1 set"):
        fit(spec_of("tabletop_stage2"), str(base), [datasets[2]], tmp_path / "run")
    with pytest.raises(BadInput, match="model=nowhere"):
        fit(spec_of("tabletop_stage1"), "nowhere", [datasets[1]], tmp_path / "run")
    with pytest.raises(IntegrityError, match="has no manifest"):
        fit(spec_of("tabletop_stage1"), str(base), [tmp_path], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="holds no training run"):
        fit(spec_of("tabletop_stage1"), str(base), [datasets[1]], tmp_path / "mine")
