"""Recipes by name, resolved specifications by file."""

import json

import pytest

from bfs_model.errors import BadInput
from bfs_model.integrity import write_manifest
from bfs_platform.config import Spec, apply, dump, load, names, registry, resolve
from bfs_platform.data.spec import DecoderSpec
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.models import imported, loader


class OtherSpec(Spec):
    """A kind of which no recipe exists."""


def test_a_written_specification_is_a_valid_input(run_spec, tmp_path) -> None:
    """What `dump` writes, `load` returns equal, and it can be overridden again."""
    changed = apply(run_spec, ["optimizer.lr=0.25", "second.tag=x"])
    path = dump(changed, tmp_path / "spec.json")
    assert load(path) == changed
    assert [p.name for p in tmp_path.iterdir()] == ["spec.json"]
    assert resolve(str(path), ["seed=9"], type(run_spec)).seed == 9


def test_a_manifest_that_holds_a_specification_is_a_valid_input(run_spec, tmp_path) -> None:
    """A result's manifest can be given where a recipe is asked for."""
    manifest = write_manifest(tmp_path, "dataset", {"recipe": run_spec.resolved()})
    assert load(manifest) == run_spec


def test_unknown_recipe_names_the_nearest(run_spec) -> None:
    """A typo in a recipe's name is answered with the nearest name."""
    with pytest.raises(BadInput, match="did you mean example_run"):
        resolve("exampel_run", [], type(run_spec))


def test_a_recipe_of_another_kind_is_refused(run_spec) -> None:
    """A job refuses a recipe that describes another job."""
    with pytest.raises(BadInput, match="describes a RunSpec, not a OtherSpec"):
        resolve("example_run", [], OtherSpec)
    assert "example_run" not in names(OtherSpec)


@pytest.mark.parametrize("content", ["{", "[]", "3", "{}", '{"recipe": "example_run"}', '{"body": {}}'])
def test_other_files_are_refused(run_spec, tmp_path, content) -> None:
    """A file that is no resolved specification is bad input, not a traceback."""
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(BadInput, match='is not {"recipe"'):
        load(path)


def test_missing_file_and_edited_file_are_refused(run_spec, tmp_path) -> None:
    """A missing file, an unknown key and an unknown recipe in a file are each named."""
    with pytest.raises(BadInput, match="is not a file"):
        load(tmp_path / "missing.json")
    path = tmp_path / "edited.json"
    path.write_text(json.dumps({"recipe": "example_run", "spec": {"optimizer": {"momentum": 1}}}))
    with pytest.raises(BadInput, match=r"^optimizer\.momentum=1 Extra inputs"):
        load(path)
    path.write_text(json.dumps({"recipe": "gone", "spec": {}}))
    with pytest.raises(BadInput, match="recipe=gone is not a recipe"):
        load(path)


def test_two_recipes_of_one_name_are_refused(run_spec) -> None:
    """Registering a name twice fails at import."""
    build = registry.find("example_run").build
    with pytest.raises(AssertionError, match="two recipes are called example_run"):
        registry.recipe(build)


def test_a_specification_of_before_the_rooms_still_loads() -> None:
    """Functions that it names by their former modules are the present ones: equal specifications, and they can be imported."""
    decoder = DecoderSpec(function="bfs_model.images:read_image")
    evaluation = EvaluationSpec(loader="bfs_platform.evaluate.models:load_pipeline")
    assert (decoder, evaluation) == (DecoderSpec(), EvaluationSpec())
    assert callable(loader(evaluation.loader)) and callable(imported("function", decoder.function))
