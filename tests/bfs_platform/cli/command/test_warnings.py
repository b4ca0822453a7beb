"""What a layer should not be used without knowing: on stderr, in the summary, and in the document, from every command that draws."""

import json
from pathlib import Path

import pytest

from bfs_model import LayerStack
from bfs_model.tiny.components import random_bundle

LONG = "a small red sphere " * 9 + "with stripes"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights, whose encoders read 30 and 15 tokens of text."""
    return random_bundle(tmp_path_factory.mktemp("warned") / "bundle")


def _check(result, lines: list[str], label: str = "") -> None:
    """Both encoders name the end of the prompt, on stderr and in the summary; stdout holds nothing else."""
    assert result.exit_code == 0, result.stderr
    assert [line.split(" reads ")[0] for line in lines] == [f"{label}CLIP", f"{label}T5"]
    assert all(line.endswith('with stripes"') for line in lines)
    assert all(f"warning: {line}\n" in result.stderr for line in lines)


def test_of_a_prompt_too_long(bfs, room, tmp_path, model) -> None:
    """`bfs generate` and `bfs extract`, as .png and as document."""
    shared = ["--background", room, "--box", "5,5,20,20", "--model", model, "--steps", 1, "--seed", 1, "--json", "--prompt", LONG]
    drawn = bfs("generate", *shared, "--output", tmp_path / "layer.zip")
    _check(drawn, json.loads(drawn.stdout)["warnings"])
    assert LayerStack.open(tmp_path / "layer.zip").layers[1].parameters["warnings"] == json.loads(drawn.stdout)["warnings"]
    extracted = bfs("extract", *shared, "--composite", room, "--output", tmp_path / "layer.png")
    _check(extracted, json.loads(extracted.stdout)["warnings"])


def test_of_a_layer_in_a_scene(bfs, room, tmp_path, model) -> None:
    """`bfs document` says which layer it is; a layer with nothing to say has an empty list."""
    layers = [{"name": n, "box": [5, 5, 20, 20], "prompt": p, "seed": 1, "steps": 1} for n, p in (("a", "a red cube"), ("b", LONG))]
    scene = room.with_name("scene.json")
    scene.write_text(json.dumps({"background": room.name, "layers": layers}))
    result = bfs("document", scene, "--output", tmp_path / "document.zip", "--model", model, "--json")
    summary = json.loads(result.stdout)
    _check(result, summary["warnings"], "b: ")
    assert summary["layers"][0]["warnings"] == [] and len(summary["layers"][1]["warnings"]) == 2
