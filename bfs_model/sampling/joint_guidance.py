"""A setting of extraction: how strongly the foreground branch listens to the composite branch.

v = v_joint + w · (v_joint − v_separate), the guidance of UniCon between two conditions, with information sharing on and off
in the place of the conditions. w = 0 is the paper; each w above costs a second pass per step.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from bfs_model.errors import BadInput


@contextmanager
def joint_guidance(pipe: Any, weight: Any) -> Iterator[None]:
    """Guide every step that `pipe` takes inside. Raises `BadInput` for a weight below 0 or none at all, and with a step cache."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise BadInput("joint_guidance", weight, "is not a weight", "0 is none, 0.5 already much")
    if weight == 0:
        yield
        return
    joint = pipe._velocity

    def velocity(*inputs: Any, **more: Any) -> Tensor:
        if pipe.transformer.is_cache_enabled:
            raise BadInput("joint_guidance", weight, "needs two passes per step, which a step cache would mix up", "use step_cache=none")
        together: Tensor = joint(*inputs, **more)
        with independent_branches(pipe.dual_branch):
            separate = joint(*inputs, **more)
        return together + weight * (together - separate)

    pipe.__dict__["_velocity"] = velocity
    try:
        yield
    finally:
        del pipe.__dict__["_velocity"]


@contextmanager
def independent_branches(dual_branch: Any) -> Iterator[None]:
    """The two branches without messages: exactly two passes of the backbone."""
    processors = list(dual_branch.transformer.attn_processors.values())
    scales = [processor.scale for processor in processors]
    for processor in processors:
        processor.scale = 0.0
    try:
        yield
    finally:
        for processor, scale in zip(processors, scales, strict=True):
            processor.scale = scale
