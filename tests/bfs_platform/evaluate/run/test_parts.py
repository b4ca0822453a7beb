"""The comparison of trainings: which jobs it consists of, that they are valid, and what its table says."""

from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.evaluate.run import parts
from bfs_platform.evaluate.run.parts import VARIANTS, Inputs, Job, compare, jobs_of, table
from bfs_platform.evaluate.spec import EvaluationSpec, PartsSpec
from bfs_platform.train.spec import TrainSpec

INPUTS = Inputs("S1", "S2", "tiny", "scenes")
SPEC = PartsSpec(seeds=(3,), stage1_steps=20, stage2_steps=10, training=("batch_size=16",))


def overrides(job: Job) -> list[str]:
    return [job.arguments[i + 1] for i, part in enumerate(job.arguments) if part == "--set"]


def value(job: Job, option: str) -> str:
    return job.arguments[job.arguments.index(option) + 1]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_same_budget(name: str) -> None:
    """All steps of a variant add up to those of both stages, every recipe resolves with its overrides, each job starts on the last."""
    *trainings, evaluation = jobs_of(SPEC, name, 3, INPUTS, Path("/out"))
    specs = [resolve(value(job, "--recipe"), overrides(job), TrainSpec) for job in trainings]
    assert sum(spec.num_steps for spec in specs) == 30
    assert {spec.seed for spec in specs} == {3}
    resolve(value(evaluation, "--recipe"), overrides(evaluation), EvaluationSpec)
    bases = [value(job, "--base") for job in trainings] + [value(evaluation, "--model")]
    assert bases == ["tiny", *[value(job, "--output") for job in trainings]]


def test_what_is_shared_is_trained_once_and_what_is_finished_not_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full training and that without L_reg share stage 1; a second call after a failure runs only what is missing."""
    ran: list[str] = []

    def run(script: str, arguments: tuple[str, ...], environment: Any) -> None:
        folder = Path(arguments[arguments.index("--output") + 1])
        ran.append(folder.name)
        if len(ran) == 4:
            raise RuntimeError("the machine went down")
        result = folder if script == "evaluate" else folder / "model"
        result.mkdir(parents=True)
        (result / "manifest.json").touch()

    monkeypatch.setattr(parts, "run_script", run)
    monkeypatch.setattr(parts, "content_hashes", lambda inputs: {"synthetic": "1", "natural": "2", "base": "3"})
    monkeypatch.setattr(
        parts, "read_results", lambda folder: {"list": {"hash": "same"}, "systems": {"model": {"region_mae": {"mean": 0.25}}}}
    )
    spec = SPEC.model_copy(update={"variants": ("full", "without_reg")})
    with pytest.raises(RuntimeError, match="went down"):
        compare(spec, INPUTS, tmp_path)
    manifest = compare(spec, INPUTS, tmp_path)
    whole = ["tabletop_stage1-3", "full-3", "evaluation-full-3", "without_reg-3", "without_reg-3", "evaluation-without_reg-3"]
    assert ran == whole
    assert manifest == tmp_path / "table" / "manifest.json" and manifest.exists()
    lines = (tmp_path / "table" / "table.md").read_text().splitlines()
    assert lines[0] == "|  | full | without L_reg |" and lines[2] == "| region MAE ↓ | 0.2500 | 0.2500 |"
    with pytest.raises(BadInput, match="other settings"):
        compare(spec.model_copy(update={"stage1_steps": 21}), INPUTS, tmp_path)
    monkeypatch.setattr(parts, "content_hashes", lambda inputs: {"synthetic": "built anew", "natural": "2", "base": "3"})
    with pytest.raises(BadInput, match="other settings or inputs"):
        compare(spec, INPUTS, tmp_path)


def test_inputs_are_looked_at_before_anything_is_trained(tmp_path: Path) -> None:
    """A training set that is not there is an error at once, and nothing is left behind."""
    with pytest.raises(BadInput, match="S1"):
        compare(SPEC, INPUTS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_spreads_over_seeds() -> None:
    """Means of means and the standard deviation over seeds; a metric that one run lacks is left out."""
    runs = {
        seed: {"list": {"hash": "same"}, "systems": {"model": {"region_mae": {"mean": mean}, "alpha_outside": {"mean": other}}}}
        for seed, mean, other in ((1, 0.1, 0.5), (2, 0.3, None))
    }
    with pytest.raises(BadInput, match="are of different records"):
        table({"full": runs, "without_reg": {1: runs[1] | {"list": {"hash": "other"}}}})
    assert table({"full": {1: runs[1]}})["full"]["region_mae"] == {"mean": 0.1, "std": None}, "one seed has no spread"
    made = table({"full": runs})
    assert made == {"full": {"region_mae": {"mean": pytest.approx(0.2), "std": pytest.approx(0.02**0.5)}}}
