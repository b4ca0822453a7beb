"""Training specifications refuse what cannot run."""

from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.train.spec import OptimizerSpec, TrainSpec
from bfs_platform.train.state import engine, identity


def test_batch_must_divide_over_workers() -> None:
    """A batch that cannot be split evenly names the sizes that can."""
    with pytest.raises(BadInput, match=r"batch_size=15 is not divisible by 2 workers x micro_batch_size 4; use 8 or 16"):
        resolve("tabletop_stage1", ["batch_size=15", "micro_batch_size=4"], TrainSpec)


def test_unknown_keys_name_the_nearest() -> None:
    """A misspelt key is refused with the right one."""
    with pytest.raises(BadInput, match=r"optimizer\.learning_rat"):
        resolve("tabletop_stage1", ["optimizer.learning_rat=1"], TrainSpec)
    with pytest.raises(BadInput, match="did you mean num_steps"):
        resolve("tabletop_stage1", ["num_step=1"], TrainSpec)


def test_learning_rate_warms_up_and_falls() -> None:
    """Linear warm-up, then half a cosine down to a tenth; constant stays."""
    cosine = OptimizerSpec(lr=1.0, warmup_steps=4, schedule="cosine")
    rates = [engine.learning_rate(cosine, step, 104) for step in (0, 3, 4, 54, 103)]
    assert rates[:3] == [0.25, 1.0, 1.0]
    assert rates[3] == pytest.approx(0.55) and rates[4] == pytest.approx(0.1, abs=1e-3)
    assert engine.learning_rate(OptimizerSpec(lr=0.5), 99, 100) == 0.5


def test_a_linear_schedule_stays_and_then_falls_to_zero() -> None:
    """Of 100 steps the last 30 fall: 1 until step 70, one half at step 85, a thirtieth at the last; short runs fall in one step."""
    linear = OptimizerSpec(lr=1.0, warmup_steps=4, schedule="linear", decay_share=0.3)
    assert [engine.learning_rate(linear, step, 100) for step in (0, 3, 4, 69, 70)] == [0.25, 1, 1, 1, 1]
    assert [engine.learning_rate(linear, step, 100) for step in (85, 99)] == pytest.approx([0.5, 1 / 30])
    assert engine.decay_start(linear, 100) == 70 and engine.decay_start(linear, 1) == 0


def test_a_linear_schedule_may_grow_until_it_falls() -> None:
    """A checkpoint from before the fall fits a run of another length, one from within it does not; a cosine's never does."""
    for schedule, step, fits in (("linear", 70, True), ("linear", 71, False), ("cosine", 7, False)):
        short, long = (resolve("tabletop_stage1", [f"num_steps={n}", f"optimizer.schedule={schedule}"], TrainSpec) for n in (100, 200))
        body = {"identity": identity.identity_of(short), "step": step, "world_size": 1}
        assert (identity.mismatch(long, 1, {}, Path("checkpoint"), body) == "") == fits
        assert identity.mismatch(short, 1, {}, Path("checkpoint"), body) == ""


def _lpips(folder: Path, weights: bytes = b"weights") -> TrainSpec:
    """A run whose loss is measured with the weights in this folder."""
    folder.mkdir()
    (folder / "vgg16.safetensors").write_bytes(weights)
    return resolve("flux_rgba_vae", ["network.perceptual=lpips", f"network.perceptual_folder={folder}"], TrainSpec)


def test_weights_are_known_by_what_they_are(tmp_path: Path) -> None:
    """A run goes on where the same ones lie in another folder, and is refused with others. Likewise the bundle it was grown from."""
    here, there, other = (_lpips(tmp_path / name, weights) for name, weights in (("here", b"w"), ("there", b"w"), ("other", b"v")))
    body = {"identity": identity.identity_of(here), "inputs": {"base": "b"} | identity.weights_of(here), "world_size": 8}
    assert str(tmp_path) not in str(body)

    def refusal(spec: TrainSpec, body: dict[str, Any]) -> str:
        return identity.mismatch(spec, 8, {"base": "b"} | identity.weights_of(spec), Path("checkpoint"), body)

    assert refusal(here, body) == refusal(there, body) == ""
    assert refusal(other, body) == "holds a run on another perceptual_weights"

    grown = [resolve("crisp_rgb_vae", [f"network.grown_from={name}"], TrainSpec) for name in ("tiny", "/elsewhere/tiny")]
    assert identity.identity_of(grown[0]) == identity.identity_of(grown[1]), "it is a part of the base, whose content is compared"


def test_older_checkpoints_know_weights_by_their_folder(tmp_path: Path) -> None:
    """Theirs go on with the same folder; with another one it is said why they do not."""
    here, there = (_lpips(tmp_path / name) for name in ("here", "there"))
    older = {**identity.identity_of(here), "network": here.network.model_dump(mode="json")}
    for body in ({"identity": older, "inputs": {"base": "b"}, "world_size": 8}, {"identity": older, "world_size": 8}):
        told = [identity.mismatch(s, 8, {"base": "b"} | identity.weights_of(s), Path("checkpoint"), body) for s in (here, there)]
        assert told == ["", f"knows its perceptual weights by network.perceptual_folder alone ({tmp_path}/here, not {tmp_path}/there)"]
    plain = resolve("flux_rgba_vae", [], TrainSpec)
    assert identity.weights_of(plain) == {}
