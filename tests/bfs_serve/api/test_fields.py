"""The JSON body: what it takes, what it refuses, and that the published schema says the same."""

import base64
import json
from typing import get_args

import pytest
from pydantic import ValidationError

from bfs_model.errors import BadInput
from bfs_model.picture.blending import BLEND_MODES
from bfs_model.picture.boxes import Box
from bfs_platform.client.fields import MAX_PROMPT_CHARS, BlendMode, LayerBody, SceneLayerFields, parse_base64, parse_box, parse_prompt

IMAGE = base64.b64encode(b"image").decode()


def body(**changes: object) -> str:
    return json.dumps({"background": IMAGE, "box": [1, 2, 3, 4], "prompt": "a ball"} | changes)


def test_a_full_body_is_read() -> None:
    """Every field arrives with its type."""
    parsed = LayerBody.model_validate_json(body(seed=2**32 - 1, steps=100, reference=IMAGE, split_effects=True))
    assert (parsed.background, parsed.reference, parsed.box, parsed.seed) == (b"image", b"image", Box(1, 2, 3, 4), 2**32 - 1)
    assert parsed.split_effects and parsed.steps == 100


def test_blend_modes_are_those_that_can_be_blended() -> None:
    """Before a job is taken on, and by the published schema."""
    assert get_args(BlendMode) == BLEND_MODES
    layer: dict[str, object] = {"box": [1, 2, 3, 4], "prompt": "a ball"}
    for mode in BLEND_MODES:
        assert SceneLayerFields.model_validate_json(json.dumps(layer | {"blend_mode": mode})).blend_mode == mode
    with pytest.raises(ValidationError, match="'normal', 'multiply' or 'screen'"):
        SceneLayerFields.model_validate_json(json.dumps(layer | {"blend_mode": "glow"}))


@pytest.mark.parametrize(
    "box",
    [[1, 2, 5, 7], {"x0": 1, "y0": 2, "x1": 5, "y1": 7}, {"x": 1, "y": 2, "width": 4, "height": 5}],
    ids=["list", "corners", "size"],
)
def test_three_spellings_of_a_box_mean_the_same(box: object) -> None:
    """Four integers, corners, or corner and size."""
    assert parse_box(box) == Box(1, 2, 5, 7)


@pytest.mark.parametrize(
    "box",
    [
        "1,2,3,4",
        [1, 2, 3],
        [1, 2, 3, 4.5],
        [1, 2, 3, True],
        [3, 2, 1, 4],
        {"x0": 1, "y0": 2, "x1": 5},
        {"x": 1, "y": 2, "width": 0, "height": 5},
        {"x": int("9" * 4300), "y": 2, "width": int("9" * 4300), "height": 5},
        [0, 0, 2**40, 9],
        "\ud800",
        None,
        [[1], 2, 3, 4],
    ],
    ids=lambda box: ascii(box)[:40],
)
def test_other_boxes_are_refused(box: object) -> None:
    """Text, wrong counts, floats, booleans, empty and reversed boxes are bad input."""
    with pytest.raises(BadInput) as caught:
        parse_box(box)
    assert str(caught.value).encode(), "it can be sent"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": False},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": "7"},
        {"seed": 1.5},
        {"steps": 0},
        {"steps": 201},
        {"split_effects": 1},
        {"color": "red"},
        {"prompt": 3},
        {"prompt": None},
        {"background": None},
    ],
    ids=str,
)
def test_nothing_is_coerced_and_nothing_extra_is_taken(changes: dict[str, object]) -> None:
    """Strict types, ranges, and no unknown field."""
    with pytest.raises(ValidationError):
        LayerBody.model_validate_json(body(**changes))


def test_a_whole_number_may_have_a_point() -> None:
    """To JSON Schema `5.0` is an integer, and some languages write it so."""
    parsed = LayerBody.model_validate_json(body(seed=7.0, steps=28.0, candidates=2.0, box={"x": 1.0, "y": 2, "width": 4, "height": 5.0}))
    assert (parsed.seed, parsed.steps, parsed.candidates, parsed.box) == (7, 28, 2, Box(1, 2, 5, 7))
    assert all(type(number) is int for number in (parsed.seed, parsed.steps, parsed.candidates, *parsed.box))


@pytest.mark.parametrize("prompt", ["\x1f", "a\x00b", "a\x1b[31m", "\x7f", "half \ud800 pair", "x" * (MAX_PROMPT_CHARS + 1)])
def test_unprintable_or_endless_prompts_are_refused(prompt: str) -> None:
    """The error gives the length, never the text."""
    with pytest.raises(BadInput) as caught:
        parse_prompt(prompt)
    assert caught.value.value == f"<{len(prompt)} characters>"


def test_a_prompt_in_any_script_is_one_line() -> None:
    """Unicode stays, line breaks become spaces."""
    assert parse_prompt(" 赤い球\n👩‍🚀\tÄ ") == "赤い球 👩‍🚀 Ä"


def test_base64_is_read_plain_wrapped_and_as_data_uri() -> None:
    """`base64` wraps its lines; browsers make data URIs."""
    assert parse_base64("aW1h\nZ2U=\n") == parse_base64("data:image/png;base64,aW1hZ2U=") == b"image"


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1/a.png", "file:///etc/passwd", "data:,hello", "aW1hZ2U", "a*b=", "", "data:image/png;base64,", 5]
)
def test_urls_and_broken_base64_are_refused(text: object) -> None:
    """No field of a request makes the service fetch anything."""
    with pytest.raises(BadInput):
        parse_base64(text)


def test_published_schema_is_closed_and_bounded() -> None:
    """What the OpenAPI document promises is what is checked."""
    schema = LayerBody.model_json_schema()
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["background", "box", "prompt"]
    assert schema["properties"]["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    assert [kind["type"] for kind in schema["properties"]["box"]["anyOf"]] == ["array", "object", "object"]
