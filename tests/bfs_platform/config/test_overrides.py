"""`--set key=value`."""

import pytest
from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_platform.config import apply


def test_nested_values_are_parsed_and_typed(run_spec) -> None:
    """Numbers, choices and texts reach their fields with the field's type; the rest is unchanged."""
    changed = apply(run_spec, ["seed=7", "optimizer.lr=1e-4", "optimizer.name=sgd"])
    assert (changed.seed, changed.optimizer.lr, changed.optimizer.name) == (7, 1e-4, "sgd")
    assert changed.weights == run_spec.weights
    assert run_spec.seed == 3
    assert changed.recipe_name == "example_run"


@pytest.mark.parametrize("text", ["7", "true", "null", "a=b", "", "1e-4"])
def test_text_fields_take_any_text(run_spec, text) -> None:
    """A text field receives what was typed, even where it looks like a number."""
    assert apply(run_spec, [f"optimizer.tag={text}"]).optimizer.tag == text


def test_whole_parts_and_mapping_entries(run_spec) -> None:
    """A part may be set as JSON, an absent optional part by its keys, a mapping entry by its name."""
    assert apply(run_spec, ['optimizer={"lr": 2.0}']).optimizer.lr == 2.0
    assert apply(run_spec, ["second.lr=0.5"]).second.lr == 0.5
    assert apply(run_spec, ["weights.comp=3"]).weights == {"comp": 3.0, "fg": 1.0}


def test_values_valid_only_together_come_in_any_order(run_spec) -> None:
    """Both orders of a pair that is only valid as a pair are accepted."""
    pair = ["batch_size=9", "num_workers=3"]
    assert apply(run_spec, pair) == apply(run_spec, pair[::-1])


def test_unknown_key_names_the_nearest_and_all_keys(run_spec) -> None:
    """A typo is answered with the nearest key and the keys of that level."""
    with pytest.raises(BadInput) as error:
        apply(run_spec, ["optimizer.Ir=1"])
    assert str(error.value) == (
        "optimizer.Ir=1 is not a known key; did you mean optimizer.lr? keys: optimizer.lr, optimizer.name, optimizer.tag."
    )


@pytest.mark.parametrize(
    ("override", "key", "rule"),
    [
        ("optimizer.lr=-1", "optimizer.lr", "should be greater than 0"),
        ("optimizer.lr=NaN", "optimizer.lr", "should be a finite number"),
        ("optimizer.name=adam", "optimizer.name", "should be 'adamw' or 'sgd'"),
        ("seed=many", "seed", "should be a valid integer, unable to parse string as an integer"),
        ('optimizer={"rl": 1}', "optimizer.rl", "is not a known key"),
        ("second.rl=1", "second.rl", "is not a known key"),
        ("weights.comp=heavy", "weights.comp", "should be a valid number, unable to parse string as a number"),
        ("batch_size=7", "batch_size", "is not divisible by 2 workers"),
        ("seed.low=1", "seed.low", "goes inside seed, which is a single value"),
        ("seed", "--set", "is not key=value"),
        ("=3", "--set", "is not key=value"),
        ("optimizer..lr=3", "--set", "is not key=value"),
    ],
)
def test_refusals_name_key_and_rule(run_spec, override, key, rule) -> None:
    """Every refusal says which key broke which rule."""
    with pytest.raises(BadInput) as error:
        apply(run_spec, [override])
    assert (error.value.key, error.value.rule) == (key, rule)


def test_contradictions_are_refused(run_spec) -> None:
    """A part and a key inside it cannot both be set."""
    for pair in (["optimizer=null", "optimizer.lr=1"], ["optimizer.lr=1", "optimizer=null"]):
        with pytest.raises(BadInput, match="contradicts"):
            apply(run_spec, pair)


def test_specifications_are_frozen(run_spec) -> None:
    """A specification cannot be changed in place."""
    with pytest.raises(ValidationError, match="frozen"):
        run_spec.seed = 4
