"""jobs/evaluate.py on a Ray cluster."""

import json
from pathlib import Path
from typing import Any

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.entry import evaluate as job
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.jobs import exit_code
from bfs_platform.registry import evaluation
from bfs_platform.registry.promote import promote
from bfs_platform.registry.register import register
from bfs_platform.registry.store import CONTENT_HASH, Reference, Registry, Unreachable
from bfs_platform.tracking.uri import connect

# Ray Data's own defaults use options that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
FAKE = ["--set", "loader=bfs_platform.evaluate.system.fakes:load_fake_disc"]


@pytest.fixture
def model(tmp_path) -> Path:
    """A model folder that only has to have a manifest: the fake is what draws."""
    folder = tmp_path / "model"
    (folder / "sharing").mkdir(parents=True)
    (folder / "sharing" / "config.json").write_text("{}")
    integrity.write_manifest(folder, "model", {"base": {"name": "tiny", "content_hash": "0" * 64}})
    return folder


def metrics(output: Path) -> dict[str, Any]:
    """What was written."""
    return json.loads((output / "metrics.json").read_text())


@pytest.mark.ray
def test_an_evaluation_from_end_to_end(ray_cluster, store_uri, make_source, model, tmp_path) -> None:
    """Figures, list, report and manifest are written; a bad record and a failing one are named; repeating gives the same bytes."""
    root = make_source(5)
    (root / "GT/003.png").unlink()
    meta = (root / "meta.json").read_text()
    (root / "meta.json").write_text(meta.replace("cube 1", "fail"))
    arguments = ["--model", str(model), "--input", str(root), "--seed", "3", *FAKE]
    outputs = [tmp_path / "out1", tmp_path / "out2"]
    manifests = [job.main([*arguments, "--output", str(out), "--set", f"actors={i + 1}"]) for i, out in enumerate(outputs)]

    manifest = integrity.verify(outputs[0], "evaluation")
    assert manifests[0] == outputs[0] / "manifest.json"
    assert (outputs[0] / "report" / "index.html").is_file()
    results = metrics(outputs[0])
    assert (results["num_samples"], results["num_failed"]) == (5, 2)
    assert [(f["id"], f["system"]) for f in results["failures"]] == [("001", "model"), ("003", "input")]
    assert results["systems"]["model"]["alpha_iou"]["n"] == 3 and results["systems"]["truth"]["alpha_iou"]["n"] == 4
    truth, found, identity = (results["systems"][name]["region_mae"]["mean"] for name in ("truth", "model", "identity"))
    assert truth < 0.001 < found and truth < identity
    assert set(results["groups"]["material"]) == {"glass", "metal"}
    assert results["model"]["content_hash"] == integrity.read_manifest(model)["content_hash"]
    assert manifest["body"]["list_hash"] == results["list"]["hash"] == json.loads((outputs[0] / "list.json").read_text())["hash"]
    seeds = [sample.get("seed") for sample in results["samples"]]
    assert seeds[3] is None and len({*seeds}) == 5

    assert metrics(outputs[1])["samples"] == results["samples"], "the number of actors changes nothing"
    repeated = [*arguments, "--output", str(tmp_path / "out3"), "--set", "actors=1", "--list", str(outputs[0] / "list.json")]
    job.main(repeated)
    assert integrity.read_manifest(tmp_path / "out3")["content_hash"] == integrity.read_manifest(outputs[0])["content_hash"]


@pytest.mark.ray
def test_tracked_figures_reach_run_version_and_gate(ray_cluster, store_uri, make_source, model, tmp_path) -> None:
    """`--track` writes metrics and report to a run and the figures to the version; the gate reads them there."""
    version = register(model)
    arguments = ["--model", f"models:/bfs/{version}", "--input", str(make_source(3, sealed=True)), "--limit", "2", *FAKE]
    job.main([*arguments, "--output", str(tmp_path / "out"), "--track"])
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("bfs-evaluate").experiment_id])
    means = metrics(tmp_path / "out")["systems"]["model"]
    assert run.data.metrics["eval/alpha_iou"] == pytest.approx(means["alpha_iou"]["mean"])
    assert run.data.metrics["eval/failed_fraction"] == 0 and run.info.status == "FINISHED"
    assert {dataset.dataset.name for dataset in run.inputs.dataset_inputs} == {f"models:/bfs/{version}", "scenes"}
    assert run.data.tags["evaluation.report"] in run.data.tags["mlflow.note.content"]
    assert run.data.tags["evaluation.report"] in {item.path for item in client.list_artifacts(run.info.run_id, "evaluation/report")}
    tags = client.get_model_version("bfs", version).tags
    assert float(tags["eval.alpha_iou"]) == pytest.approx(means["alpha_iou"]["mean"])
    assert tags["eval.list_hash"] == metrics(tmp_path / "out")["list"]["hash"] and evaluation.comparable(dict(tags), dict(tags))
    record = promote(f"models:/bfs/{version}", smoke=lambda folder, spec: "fake")
    assert record["gates"][-1]["name"] == "metrics" and "no evaluation" not in record["gates"][-1]["detail"]


@pytest.mark.ray
def test_when_every_record_fails(ray_cluster, make_source, model, tmp_path, capsys) -> None:
    """The results are written with the reasons, and the exit code says that it went wrong."""
    root = make_source(2, meta={"caption": "fail"})
    with pytest.raises(SystemExit) as end:
        job.main(["--model", str(model), "--input", str(root), "--output", str(tmp_path / "out"), *FAKE])
    assert end.value.code == 1
    assert "Every record failed; the first because: ValueError: the fake was asked to fail" in capsys.readouterr().err
    assert metrics(tmp_path / "out")["failed_fraction"] == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model", "nowhere"], "model=nowhere is not a folder"),
        (["--model", "models:/bfs@champion"], "is not in the registry"),
        (["--input", "nowhere"], "does not exist"),
        (["--recipe", "evaluatoin"], "did you mean evaluation?"),
        (["--set", "sede=1"], "did you mean seed?"),
        (["--steps", "0"], "steps=0"),
        (["--list", "nowhere.json"], "is not a frozen evaluation list"),
    ],
)
def test_bad_input_is_one_line(store_uri, make_source, model, tmp_path, capsys, arguments, line) -> None:
    """Exit code 2, one line that names key and remedy, nothing written, and Ray was not even started."""
    options = {"--model": str(model), "--input": str(make_source(1)), "--output": str(tmp_path / "out")} | {arguments[0]: arguments[1]}
    code = exit_code(lambda: job.main([part for option in options.items() for part in option]))
    captured = capsys.readouterr()
    assert code == 2 and line in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "out").exists()


def test_figures_wait_while_the_registry_is_away(store_uri, make_source, model, tmp_path, monkeypatch, capsys) -> None:
    """The evaluation is done; that its version cannot be told now is a line with the remedy, not a failure."""

    def away(*_: object) -> None:
        raise Unreachable("registry", store_uri, "cannot be reached", "check it")

    monkeypatch.setattr(evaluation, "attach_evaluation", away)
    figures = {"systems": {"model": {}}, "failed_fraction": 0, "list": {"hash": "L"}}
    results = {"model": {"uri": "models:/bfs/1", "kind": "model", "content_hash": "f" * 64}, **figures}
    job.track(model, make_source(1), results, EvaluationSpec(), None)
    assert f"cannot be reached; check it. The figures can be attached at promotion with --evaluation {model}" in capsys.readouterr().err


def evaluated(folder: Path, content_hash: str, spec: EvaluationSpec, **figures: float) -> Path:
    """The committed figures of an evaluation."""
    facts = {"model": {"content_hash": content_hash}, "recipe": spec.resolved(), "list": {"hash": "L"}, "num_samples": 1}
    means = {name: {"mean": value} for name, value in figures.items()}
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(facts | {"systems": {"model": means}, "failed_fraction": 0}))
    integrity.write_manifest(folder, "evaluation", {})
    return folder


def test_an_evaluation_of_another_model_is_not_attached(store_uri, model, tmp_path) -> None:
    """Figures are only believed for the content that they were measured on."""
    version = register(model)
    folder = evaluated(tmp_path / "evaluation", "f" * 64, EvaluationSpec())
    with pytest.raises(BadInput, match="is of model ffffffffffff, not of models:/bfs/1"):
        evaluation.attach_evaluation(Reference("bfs", version), folder)


@pytest.mark.parametrize(
    ("other", "alike"),
    [({"actors": 1, "report_samples": 3}, True), ({"steps": 12}, False), ({"task": "extraction"}, False), ({"short_side": 512}, False)],
)
def test_figures_are_comparable_when_taken_in_the_same_way(store_uri, model, tmp_path, other, alike) -> None:
    """What is shown or how many work does not matter; whatever can change a figure does."""
    assert set(evaluation._PROTOCOL_KEYS) <= set(EvaluationSpec.model_fields)
    version = Reference("bfs", register(model))
    content_hash = Registry.open().find(version).tags[CONTENT_HASH]
    found = []
    for number, spec in enumerate([EvaluationSpec(), EvaluationSpec.model_validate(other)]):
        evaluation.attach_evaluation(version, evaluated(tmp_path / str(number), content_hash, spec))
        found.append(dict(Registry.open().find(version).tags))
    assert evaluation.comparable(*found) is alike


def test_a_later_evaluation_takes_the_place_of_an_earlier_one(store_uri, model, tmp_path) -> None:
    """A figure that it did not take is gone: it would pass for one measured on the new list."""
    version = Reference("bfs", register(model))
    content_hash = Registry.open().find(version).tags[CONTENT_HASH]
    for name, figures in (("first", {"alpha_iou": 0.5, "shape_recognised": 0.9}), ("second", {"alpha_iou": 0.6})):
        evaluation.attach_evaluation(version, evaluated(tmp_path / name, content_hash, EvaluationSpec(), **figures))
    assert evaluation.metrics_of(Registry.open().find(version).tags) == {"alpha_iou": 0.6, "failed_fraction": 0}
