"""What an accelerator's quarter of an hour should show beside plain steps: kernels of attention, step caches, compiled blocks.

A row that cannot run on a machine, or in the time that is left, holds the reason instead of a figure, and the others go on.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import sdpa_kernel

from bfs_model.sampling.step_cache import FirstBlock, StepCaching, TaylorSeer
from bfs_platform.train.state.kernels import KERNELS

BACKENDS = ("_native_cudnn", "flash", "flash_hub", "_flash_3_hub", "sage")  # names of diffusers'; most are packages of their own
CACHED_STEPS = 8
CACHES = {"none": "none", "first_block": FirstBlock(), "taylorseer": TaylorSeer()}
Arm = Callable[[], Any]
Seconds = Callable[[Arm], float]


class TimeIsOver(Exception):
    """The program's limit came before a row."""


class Clock:
    """How long the program may go on, from when this is made."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s, self._end = limit_s, time.monotonic() + limit_s

    def is_over(self) -> bool:
        """Whether nothing further should begin."""
        return time.monotonic() >= self._end

    def check(self) -> None:
        """Raises `TimeIsOver` when it is."""
        if self.is_over():
            raise TimeIsOver(f"the {self.limit_s:g} s of --limit-s were over")


class _Sampler(StepCaching):
    """As much of a pipeline as caches need."""

    def __init__(self, dual: Any) -> None:
        self.dual_branch, self.transformer = dual, dual.transformer

    def run(self, cache: Any, given: dict[str, Any]) -> None:
        """Eight denoising steps, each on the same input at its own noise level."""
        with torch.no_grad(), self._caching(cache):
            for i in range(CACHED_STEPS):
                sigma = torch.full_like(given["sigma"], 1 - i / CACHED_STEPS)
                self._velocity(**{**given, "sigma": sigma}, guidance=30.0)


def kernels(dual: Any, given: dict[str, Any], seconds: Seconds) -> dict[str, Any]:
    """Milliseconds of a dual step by each kernel of torch's, and by each backend that diffusers knows by name."""
    found = {}
    for name, kernel in KERNELS.items():
        with sdpa_kernel(kernel):
            found[f"dual_step_ms, kernel {name}"] = _milliseconds(_step(dual, given), seconds)
    for name in BACKENDS:
        found[f"dual_step_ms, backend {name}"] = _with_backend(dual, name, given, seconds)
    dual.transformer.set_attention_backend("native")
    return found


def caches(dual: Any, given: dict[str, Any], seconds: Seconds) -> dict[str, Any]:
    """Milliseconds of eight steps without a cache, and with each at its own settings."""
    sampler = _Sampler(dual)
    return {
        f"ms_per_{CACHED_STEPS}_steps, cache {name}": _milliseconds(lambda cache=cache: sampler.run(cache, given), seconds)
        for name, cache in CACHES.items()
    }


def compiled(dual: Any, given: dict[str, Any], seconds: Seconds) -> dict[str, Any]:
    """Milliseconds of a dual step with compiled blocks; the first one, which compiles, is not counted. The blocks stay compiled."""
    dual.transformer.compile_repeated_blocks(fullgraph=True)
    return {"dual_step_ms, compiled": _milliseconds(_step(dual, given), seconds)}


def _step(dual: Any, given: dict[str, Any]) -> Arm:
    def step() -> None:
        with torch.no_grad():
            dual(**given, guidance=30.0)

    return step


def guarded(names: Sequence[str], rows: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """These rows, or for each name why there is none."""
    try:
        return rows()
    except Exception as error:
        return dict.fromkeys(names, reason(error))


def reason(error: Exception) -> str:
    """Why there is no figure, in a line."""
    text = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return f"not measured: {text}" if isinstance(error, TimeIsOver) else f"not here: {text}"


def _with_backend(dual: Any, name: str, given: dict[str, Any], seconds: Seconds) -> float | str:
    try:
        dual.transformer.set_attention_backend(name)
    except Exception as error:  # diffusers and each library have errors of their own for what is not there
        return reason(error)
    return _milliseconds(_step(dual, given), seconds)


def _milliseconds(arm: Arm, seconds: Seconds) -> float | str:
    try:
        return 1e3 * seconds(arm)
    except Exception as error:
        return reason(error)
