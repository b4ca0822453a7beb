"""Extraction measured against layers that are known by construction."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.config import apply, resolve
from bfs_platform.evaluate.metric.extraction import extraction_figures
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import Sample, list_entries, read_sample
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.baselines import find_baseline
from bfs_platform.evaluate.system.extraction import Extraction
from bfs_platform.evaluate.system.fakes import FakeDisc
from bfs_platform.evaluate.system.models import Drawn, PipelineModel
from bfs_platform.evaluate.system.truth import least_layer


@pytest.fixture
def sample(make_source) -> Sample:
    """An 8×8 object, and a 4×8 shadow that takes a quarter of the light."""
    root = make_source(1)
    return read_sample(list_entries(root)[0], root, 10**6)


def drawn(layer: np.ndarray, sample: Sample) -> Drawn:
    return Drawn(Image.fromarray(layer), Image.fromarray(composite_u8(layer, sample.background)))


class TruePipeline:
    """Extracts the true layer, and remembers what it was given."""

    def __init__(self, sample: Sample) -> None:
        self.sample, self.given = sample, {}

    def extract(self, composite, background, box, prompt, **settings):
        self.given = {"composite": composite, "background": background, "box": box, "prompt": prompt, **settings}
        s = self.sample
        layer = least_layer(s.truth, s.background, s.object_mask, s.effect)
        composites = [Image.fromarray(composite_u8(layer, s.background))]
        return SimpleNamespace(foregrounds=[Image.fromarray(layer)], composites=composites, warnings=[["as it was told"]])


def test_the_true_layer_has_no_error_and_an_empty_one_the_whole(sample) -> None:
    """Over the object alpha is 1, over the shadow a quarter, elsewhere 0."""
    true = extraction_figures(drawn(least_layer(sample.truth, sample.background, sample.object_mask, sample.effect), sample), sample)
    assert (true["alpha_error_object"], true["alpha_error_effect"], true["alpha_error_elsewhere"]) == (0, 0, 0)
    assert true["object_mae"] < 0.002 and true["effect_mae"] < 0.002
    empty = extraction_figures(drawn(np.zeros((24, 24, 4), np.uint8), sample), sample)
    assert empty["alpha_error_object"] == 1 and empty["alpha_error_effect"] == pytest.approx(0.25, abs=0.02)
    full = extraction_figures(drawn(np.full((24, 24, 4), 255, np.uint8), sample), sample)
    assert full["alpha_error_elsewhere"] == 1 and full["alpha_error_effect"] == pytest.approx(0.75, abs=0.02)


def test_matting_finds_the_object_and_loses_its_shadow(sample) -> None:
    """What the project's own matting stage gives with the true mask, whatever the seed."""
    matting = find_baseline("matting")(FakeDisc())
    found = matting.predict(sample, 0, None)
    assert np.array_equal(np.asarray(found.layer), np.asarray(matting.predict(sample, 7, 3).layer))
    figures = extraction_figures(found, sample)
    assert figures["alpha_error_object"] < 0.1 and figures["alpha_error_effect"] > 0.2 and figures["effect_mae"] > figures["object_mae"]


def test_without_an_effect_mask_only_the_object_is_judged(make_source) -> None:
    """None is not 0: such records do not enter the mean."""
    root = make_source(1, extras=False)
    plain = read_sample(list_entries(root)[0], root, 10**6)
    figures = extraction_figures(drawn(np.zeros((24, 24, 4), np.uint8), plain), plain)
    assert figures["alpha_error_effect"] is None and figures["effect_mae"] is None and figures["alpha_error_object"] == 1


def test_the_model_is_given_the_finished_picture(sample) -> None:
    """Picture, background, box, caption, steps, a generator of the record's seed, and the guidance of the recipe."""
    pipeline = TruePipeline(sample)
    system = Extraction(PipelineModel(pipeline), joint_guidance=0.5, refit=True)
    system.predict(sample, 3, 6)
    given = pipeline.given
    assert np.array_equal(given["composite"], sample.truth) and np.array_equal(given["background"], sample.background)
    assert (given["box"], given["prompt"], given["num_inference_steps"]) == ((6, 8, 14, 16), "cube 0", 6)
    assert (given["joint_guidance"], given["refit"], given["generator"].initial_seed()) == (0.5, True, sample.seed(3))
    with pytest.raises(BadInput, match="needs a BFSPipeline"):
        Extraction(FakeDisc())


def load_true(model: str) -> PipelineModel:
    """Loader for the test below; the sample is put in by it."""
    return PipelineModel(TruePipeline(None))


def test_a_model_beside_it_extracts_as_well(make_source, monkeypatch) -> None:
    """Two models on one task: the other one is given the finished picture too."""
    monkeypatch.setattr("bfs_platform.evaluate.system.baselines.load_pipeline", load_true)
    monkeypatch.setattr("bfs_platform.evaluate.system.baselines.locate", lambda folder: folder)
    spec = EvaluationSpec(task="extraction", loader=f"{__name__}:load_true", recogniser=None, baselines=("other=folder", "truth"))
    systems = Evaluator("tiny", make_source(1), spec).systems
    assert [type(system).__name__ for system in systems.values()] == ["Extraction", "Extraction", "Truth"]


def test_a_figure_that_is_no_number_is_a_failure_of_its_system(make_source, monkeypatch) -> None:
    """It is named, nothing of that record counts for the system, and the other systems go on."""
    spec = EvaluationSpec(task="extraction", loader=f"{__name__}:load_true", recogniser=None, baselines=("truth",))
    root = make_source(1)
    evaluator = Evaluator("tiny", root, spec)
    entry = list_entries(root)[0]
    evaluator.systems["model"].pipeline.sample = read_sample(entry, root, 10**6)
    take = evaluator.learned.score

    def spoilt(system: str, drawn: Any, sample: Any, result: dict[str, Any]) -> None:
        take(system, drawn, sample, result)
        if system == "model":
            result["systems"][system]["dino"] = float("nan")

    monkeypatch.setattr(evaluator.learned, "score", spoilt)
    result, images = evaluator.evaluate(entry, shown=True)
    assert set(result["systems"]) == {"truth"} and not any(kind == "layer" for kind in images)
    assert [(f["system"], f["error"]) for f in result["failures"]] == [("model", "ValueError: dino is nan")]


def test_the_recipe_measures_model_truth_and_matting(make_source) -> None:
    """One record through the worker: the figures of extraction stand beside the usual ones, for each system."""
    root = make_source(1)
    spec = apply(resolve("tabletop_extraction", [], EvaluationSpec), [f"loader={__name__}:load_true", "recogniser=null"])
    evaluator = Evaluator("tiny", root, spec)
    entry = list_entries(root)[0]
    evaluator.systems["model"].pipeline.sample = read_sample(entry, root, 10**6)
    result, _ = evaluator.evaluate(entry, shown=False)
    assert result["failures"] == [] and set(result["systems"]) == {"model", "truth", "matting"}
    assert result["systems"]["model"]["alpha_error_effect"] == 0 < result["systems"]["matting"]["alpha_error_effect"]
    assert result["systems"]["model"]["effect_recall"] == 1
