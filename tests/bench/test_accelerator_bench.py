"""The accelerator program as `make bench` runs it."""

import json

import accelerator
import pytest
import torch

pytestmark = [pytest.mark.bench, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device with 60 GB")]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("geometry", ["flux-fill-512", "flux-fill-1024"])
def test_full_geometry(geometry, compiled, capsys) -> None:
    """Prints milliseconds per step, ratio, TFLOP/s, distance to the floor, peak memory and training pairs per second."""
    accelerator.main(["--geometry", geometry, "--json", *(["--compile"] if compiled else [])])
    text = capsys.readouterr().out
    with capsys.disabled():
        print(text)
    assert json.loads(text)["figures"][0]["dual_step_ms"] > 0
