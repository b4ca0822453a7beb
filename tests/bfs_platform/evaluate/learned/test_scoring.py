"""The learned metrics inside an evaluation."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.config import apply, get
from bfs_platform.evaluate.learned.encoders import Clip, Dino, cosine
from bfs_platform.evaluate.learned.scoring import check_learned, flattened
from bfs_platform.evaluate.learned.spec import LearnedSpec
from bfs_platform.evaluate.metric.measure import judged
from bfs_platform.evaluate.report.report import write_report
from bfs_platform.evaluate.report.results import assemble, mean_metrics
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import list_entries, read_sample
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.models import Drawn

LOADER = "bfs_platform.evaluate.system.fakes:load_fake_disc"
CPU = torch.device("cpu")


def run(root, learned: LearnedSpec) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results and rows of the fake without Ray."""
    spec = EvaluationSpec(loader=LOADER, recogniser=None, learned=learned)
    facts, entries = check_learned(learned), list_entries(root)
    evaluator = Evaluator("fake", root, spec)
    rows = [evaluator.evaluate(entry, False)[0] for entry in entries]
    return assemble(rows, entries, spec, {"uri": "fake"}, facts), rows


def test_every_system_gets_its_figures(make_source, clip_folder, dino_folder) -> None:
    """CLIP, DINO and KID are in the results of all systems, weights are named by hash, what was not taken is said."""
    root = make_source(5)
    learned = LearnedSpec(clip=str(clip_folder), dino=str(dino_folder), kid="dino", kid_subsets=10)
    results, rows = run(root, learned)
    for system in ("model", "identity", "truth"):
        summary = results["systems"][system]
        assert summary["clip_white"]["n"] == summary["clip_grey"]["n"] == summary["dino"]["n"] == 5
    kid = results["learned"]["kid"]
    assert kid["truth"]["mean"] < kid["model"]["mean"], "true layers give pictures nearer to the truth"
    assert kid["model"]["n"] == 5 and kid["model"]["subset_size"] == 2 and kid["model"]["subsets"] == 10
    assert results["systems"]["truth"]["dino"]["mean"] > results["systems"]["identity"]["dino"]["mean"]
    assert set(results["learned"]["absent"]) == {"musiq", "maniqa", "hpsv3"}
    assert results["learned"]["weights"]["clip"]["name"] == "tiny-clip" and len(results["learned"]["weights"]["dino"]["sha256"]) == 64
    assert "features" not in results["samples"][0] and "features" in rows[0]
    assert mean_metrics(results)["kid"] == kid["model"]["mean"] and mean_metrics(results)["dino"] > 0
    json.dumps(results, allow_nan=False)


def test_the_report_sets_them_beside_the_papers(make_source, clip_folder, dino_folder, tmp_path) -> None:
    """Our rows, the paper's as printed and said to be another list, the weights, and why a metric was not taken."""
    learned = LearnedSpec(clip=str(clip_folder), dino=str(dino_folder), kid="clip", hpsv3="python")
    results, _ = run(make_source(4), learned)
    results |= {"model": {"uri": "x", "content_hash": "y"}}
    page = write_report(results, {}, tmp_path / "report").read_text(encoding="utf-8")
    for words in ("63.485", "LayerDiffuse", "whose list was not published", "tiny-clip", "No module named &#39;hpsv3&#39;"):
        assert words in page, words
    assert "learned.pyiqa names no environment" in page and "KID over clip features, 100 subsets of 2" in page


def test_figures_are_of_the_pictures_that_the_paper_judges(make_source, clip_folder, dino_folder) -> None:
    """CLIP sees the layer on white and on grey, DINO the layer over the input background against the true composite."""
    root = make_source(1)
    results, _ = run(root, LearnedSpec(clip=str(clip_folder), dino=str(dino_folder)))
    sample = read_sample(list_entries(root)[0], root, 10**6)
    evaluator = Evaluator("fake", root, EvaluationSpec(loader=LOADER, recogniser=None))
    drawn = evaluator.systems["model"].predict(sample, 0, None)
    figures = results["samples"][0]["systems"]["model"]
    clip, dino = Clip(clip_folder, CPU), Dino(dino_folder, CPU)
    layer = np.asarray(drawn.layer)
    assert (flattened(layer, 255)[0, 0] == 255).all() and (flattened(layer, 128)[0, 0] == 128).all()
    assert figures["clip_white"] == pytest.approx(clip.score(flattened(layer, 255), sample.caption))
    assert figures["clip_grey"] == pytest.approx(clip.score(flattened(layer, 128), sample.caption))
    assert figures["dino"] == pytest.approx(cosine(dino.features(judged(drawn, sample)[0]), dino.features(sample.truth)))


def test_what_is_judged(make_source) -> None:
    """A layer over the input background; a composite where there is no layer; a background where a composite was taken apart."""
    root = make_source(1)
    sample = read_sample(list_entries(root)[0], root, 10**6)
    layer, composite, background = Image.new("RGBA", (24, 24)), Image.new("RGB", (24, 24), "red"), Image.new("RGB", (24, 24), "blue")
    over, truth = judged(Drawn(layer, composite), sample)
    assert np.array_equal(over, sample.background) and truth is sample.truth
    flat, truth = judged(Drawn.flat(composite), sample)
    assert (flat == (255, 0, 0)).all() and truth is sample.truth
    behind, truth = judged(Drawn(layer, composite, background=background), sample)
    assert (behind == (0, 0, 255)).all() and truth is sample.background


def test_a_record_without_a_prompt_has_no_clip_score(make_source, clip_folder) -> None:
    """There is nothing to compare the layer with."""
    results, _ = run(make_source(1, meta={"caption": ""}), LearnedSpec(clip=str(clip_folder)))
    assert results["systems"]["model"]["clip_white"]["n"] == 0


def test_wrong_weights_are_refused_before_the_first_record(clip_folder, dino_folder, tmp_path) -> None:
    """A missing folder, another kind of model, pickled weights, features without weights: each in one line with the remedy."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "clip"}')
    (pickled / "pytorch_model.bin").write_bytes(b"")
    for learned, message in (
        ({"clip": "nowhere"}, r"learned\.clip=nowhere is not a folder"),
        ({"clip": "openai/clip-vit-base-patch32"}, "cannot be had from the hub"),
        ({"clip": str(tmp_path)}, "holds no config.json"),
        ({"clip": str(dino_folder)}, "is a dinov2 model, not clip"),
        ({"clip": str(pickled)}, "no weights in safetensors"),
        ({"dino": str(clip_folder)}, "is a clip model, not dinov2"),
        ({"kid": "dino"}, r"needs learned\.dino"),
        ({"kid": "nowhere:f"}, "cannot be imported"),
    ):
        with pytest.raises(BadInput, match=message):
            check_learned(LearnedSpec(**learned))


def test_nothing_asked_for_is_nothing_missed(make_source) -> None:
    """Without learned metrics the results hold none, and the reason of each is that nobody asked."""
    results, _ = run(make_source(1), LearnedSpec())
    assert "dino" not in results["systems"]["model"] and results["learned"]["kid"] == {}
    assert all("names no" in reason for reason in results["learned"]["absent"].values())


def test_the_papers_protocol_is_a_recipe(clip_folder) -> None:
    """2,000 records, short side 512, boxes from masks; each folder can be set from the command line."""
    spec = apply(get("paper_evaluation"), [f"learned.clip={clip_folder}", "learned.dino=null"])
    assert isinstance(spec, EvaluationSpec)
    assert (spec.num_records, spec.short_side, spec.learned.clip, spec.learned.dino) == (2000, 512, str(clip_folder), None)
