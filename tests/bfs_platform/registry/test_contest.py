"""Candidate against champion on paired records: a loss that may be too large is one, whatever the means say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.entry import promote as job
from bfs_platform.registry import promote as promote_module
from bfs_platform.registry.contest import contest_gate, paired_loss
from bfs_platform.registry.gates import GateFailed
from bfs_platform.registry.promote import promote
from bfs_platform.registry.register import register
from bfs_platform.registry.spec import PromotionSpec
from bfs_platform.registry.store import Reference, Registry

SPEC = PromotionSpec(may_lose={"alpha_iou": 0.02, "region_mae": 0.01}, resamples=500)
RNG = np.random.default_rng(7)
SCENES = RNG.uniform(0.2, 0.9, 100)  # how hard each record is: far more apart than two models are


def results(iou: np.ndarray, mae: np.ndarray, list_hash: str = "L", seed: int = 0) -> dict[str, Any]:
    """metrics.json of an evaluation, as far as it is read here; NaN is a figure that is not defined."""

    def figures(i: int) -> dict[str, float | None]:
        return {"alpha_iou": None if np.isnan(iou[i]) else float(iou[i]), "region_mae": float(mae[i])}

    samples = [{"id": f"r{i}", "systems": {"model": figures(i)}} for i in range(len(iou))]
    return {"list": {"hash": list_hash}, "recipe": {"spec": {"seed": seed}}, "samples": samples}


def noisy(loss: float, spread: float, num: int = 100) -> np.ndarray:
    """IoU of a candidate that loses `loss` on the average."""
    lost = RNG.normal(0, spread, num)
    return SCENES[:num] - (lost - lost.mean()) - loss


CHAMPION = results(SCENES, 0.1 * SCENES)


def test_a_champion_is_compared_with_somebody(tmp_path: Path) -> None:
    """Its evaluation alone would be passed over, and a wrong path with it."""
    with pytest.raises(BadInput, match=r"champion_evaluation=.* is compared with an evaluation of the candidate, and none is given"):
        promote("models:/bfs/1", champion_evaluation=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("loss", "spread", "num", "passes"),
    [
        (0.0, 0.03, 100, True),
        (-0.1, 0.03, 100, True),  # better
        (0.01, 0.03, 100, True),  # worse, surely by less than it may be
        (0.03, 0.03, 100, False),  # worse by more
        (0.015, 0.1, 100, False),  # perhaps by more: it cannot be told apart
        (0.0, 0.3, 100, False),  # pure chance says nothing about 0.02
        (0.0, 0.03, 10, False),  # too few records
    ],
)
def test_a_loss_is_bounded_with_confidence(loss: float, spread: float, num: int, passes: bool) -> None:
    """Not by its mean alone; and what cannot be told does not pass."""
    candidate = results(noisy(loss, spread, num), 0.1 * SCENES[:num])
    if passes:
        assert "with 95% confidence; allowed are 0.02" in contest_gate(SPEC, candidate, CHAMPION)
        return
    with pytest.raises(GateFailed, match="alpha_iou"):
        contest_gate(SPEC, candidate, CHAMPION)


def test_the_direction_is_the_metrics_own() -> None:
    """An error that grows is a loss, one that shrinks is none."""
    assert contest_gate(SPEC, results(SCENES, 0.05 * SCENES), CHAMPION)
    with pytest.raises(GateFailed, match="region_mae is worse by"):
        contest_gate(SPEC, results(SCENES, 0.2 * SCENES), CHAMPION)


def test_a_figure_of_the_whole_set_is_left_to_its_own_gate() -> None:
    """There is none of a record."""
    spec = PromotionSpec(may_lose={"kid": 0.1, "region_mae": 0.01}, resamples=500)
    assert "kid is a figure of the whole set" in contest_gate(spec, results(SCENES, 0.1 * SCENES), CHAMPION)


def test_pairs_are_of_one_record() -> None:
    """In whatever order they come; figures that one of both lacks are left out, and too few are too few."""
    candidate = results(SCENES, 0.1 * SCENES)
    candidate["samples"].reverse()
    assert "by 0, by at most 0" in contest_gate(SPEC, candidate, CHAMPION)
    absent = np.where(np.arange(100) < 85, np.nan, SCENES)
    with pytest.raises(GateFailed, match="alpha_iou was measured on 15 records of both, at least 20 are needed"):
        contest_gate(SPEC, results(absent, 0.1 * SCENES), CHAMPION)


@pytest.mark.parametrize("given", [{"list_hash": "other"}, {"seed": 1}])
def test_other_records_or_another_noise_are_not_compared(given: dict[str, Any]) -> None:
    """Both were evaluated in one run."""
    with pytest.raises(GateFailed, match="different records, or in different ways"):
        contest_gate(SPEC, results(SCENES, 0.1 * SCENES, **given), CHAMPION)


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Of 200 samples of 40 records whose true loss is 1, about 95 % have their bound above it."""
    rng = np.random.default_rng(3)
    held = [paired_loss(rng.exponential(1.0, 40), 0.95, 200, i).at_most >= 1.0 for i in range(200)]
    assert 0.86 <= np.mean(held) <= 0.99
    assert paired_loss(np.full(30, 0.5), 0.95, 100, 0).at_most == 0.5


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """`evaluate.py` by its arguments alone: its results say that candidate and champion are equally good, on 100 records."""
    asked: list[list[str]] = []

    def fake(arguments: list[str]) -> Path:
        asked.append(arguments)
        model, output = arguments[arguments.index("--model") + 1], Path(arguments[arguments.index("--output") + 1])
        content_hash = Registry.open().find(Reference.parse(model)).tags["content_hash"]
        figures = results(SCENES, 0.1 * SCENES)
        means = {name: {"mean": value} for name, value in {"alpha_iou": 0.5, "region_mae": 0.05, "background_changed": 0.0}.items()}
        whole = figures | {"model": {"content_hash": content_hash}, "num_samples": 100, "failed_fraction": 0.0, "systems": {"model": means}}
        output.mkdir(parents=True)
        (output / "metrics.json").write_text(json.dumps(whole))
        integrity.write_manifest(output, "evaluation", {})
        return output / "manifest.json"

    monkeypatch.setattr(job, "evaluate", fake)
    monkeypatch.setitem(promote_module.promote.__kwdefaults__, "smoke", lambda folder, spec: "fake")
    return asked


def test_the_job_evaluates_both_in_one_run(store_uri: str, make_model: Any, evaluated: list[list[str]], tmp_path: Path) -> None:
    """The first version alone; a later one beside the champion, on the same records, and then in pairs."""
    first, second = register(make_model(1.0, "a")), register(make_model(2.0, "b"))
    given = ["--input", "scenes", "--list", "tabletop_heldout_200", "--set", "may_lose.alpha_iou=0.02"]
    job.main(["--candidate", f"models:/bfs/{first}", *given, "--output", str(tmp_path / "first")])
    job.main(["--candidate", f"models:/bfs/{second}", *given, "--output", str(tmp_path / "second")])
    assert [arguments[1] for arguments in evaluated] == ["models:/bfs/1", "models:/bfs/2", "models:/bfs/1"]
    assert all(
        arguments[4:] == ["--input", "scenes", "--recipe", "evaluation", "--list", "tabletop_heldout_200"] for arguments in evaluated
    )
    record = json.loads((tmp_path / "second" / "record.json").read_text())
    assert record["promoted"] and record["gates"][-1]["name"] == "contest"
    assert "alpha_iou is worse by 0, by at most 0" in record["gates"][-1]["detail"]


def test_an_evaluation_of_another_champion_is_refused(store_uri: str, make_model: Any, evaluated: list[list[str]], tmp_path: Path) -> None:
    """Whoever moved the alias meanwhile changed what there is to compare with."""
    first, second, third = (register(make_model(float(i), f"m{i}")) for i in range(3))
    promote(f"models:/bfs/{first}", smoke=lambda folder, spec: "fake")
    candidate = job.evaluate(["--model", f"models:/bfs/{second}", "--output", str(tmp_path / "candidate")]).parent
    another = job.evaluate(["--model", f"models:/bfs/{third}", "--output", str(tmp_path / "another")]).parent
    record = promote(
        f"models:/bfs/{second}", spec=SPEC, evaluation=candidate, champion_evaluation=another, smoke=lambda folder, spec: "fake"
    )
    assert not record["promoted"] and "is not an evaluation of the champion" in record["gates"][-1]["detail"]
