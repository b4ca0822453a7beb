"""`bfs generate --cache`."""

import typing

import numpy as np
from PIL import Image

from bfs_model.sampling.step_cache import KINDS, NONE
from bfs_platform.cli.command import generate


def _generate(bfs, room, output, *further):
    arguments = ["--background", room, "--box", "20,10,70,55", "--prompt", "a red glossy sphere", "--seed", 7, "--steps", 8]
    return bfs("generate", *arguments, "--output", output, *further)


def test_every_cache_can_be_named() -> None:
    """The command knows the caches that the model has."""
    assert typing.get_args(typing.get_args(generate.Cache)[0]) == (NONE, *KINDS)


def test_a_cached_layer_is_near_the_whole_one(bfs, room, tmp_path) -> None:
    """With --cache the embedded default draws almost the same layer, and the document says how it was made."""
    whole, cached = tmp_path / "whole.png", tmp_path / "cached.zip"
    assert _generate(bfs, room, whole, "--composite", tmp_path / "plain.png").exit_code == 0
    assert _generate(bfs, room, cached, "--cache", "taylorseer", "--composite", tmp_path / "flat.png").exit_code == 0
    from bfs_model import LayerStack

    _, layer = LayerStack.open(cached)
    assert layer.parameters["cache"] == "taylorseer"
    plain, flat = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("plain.png", "flat.png"))
    assert 0 < np.abs(plain - flat).mean() < 5


def test_unknown_caches_are_refused(bfs, room, tmp_path) -> None:
    """A cache that does not exist: exit code 2, nothing written."""
    result = _generate(bfs, room, tmp_path / "x.png", "--cache", "teacache")
    assert result.exit_code == 2
    assert "cache" in result.stderr
    assert not (tmp_path / "x.png").exists()
