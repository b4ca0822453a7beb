"""Classifier-free guidance: v = v_none + w·(v_prompt − v_none), the empty prompt in the place of none (Ho and Salimans 2022).

FLUX.1-Fill is distilled and takes its guidance as an input (`guidance_scale`). A backbone that is not, and that saw empty
prompts in training (`network.prompt_dropout`), is guided by what the prompt changes. Both branches of the pair alike. w = 1 is
the model by itself; every other w costs a second pass per step. Named as in diffusers: `true_cfg_scale`.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.sampling.reference import Conditions

WITHOUT_PROMPT = "without prompt, "


@dataclass(frozen=True, eq=False)
class PromptGuidance:
    """How much more the prompt counts than the model was taught, and the empty prompt as the backbone reads it."""

    scale: float
    nothing: Conditions

    @classmethod
    def of(cls, pipe: Any, scale: Any, batch: int) -> "PromptGuidance | None":
        """Guidance for `batch` images, or None where there is none to give. Raises `BadInput` for what is no scale."""
        return None if checked_scale(scale) == 1 else cls(float(scale), Conditions(*pipe.encode_prompt([""] * batch)))

    def guided(self, prompted: Tensor, without: Tensor) -> Tensor:
        """The guided velocity of both branches."""
        return without + self.scale * (prompted - without)


def checked_scale(scale: Any) -> float | int:
    """`scale`, if it is a number of at least 1. Raises `BadInput` else."""
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale) or scale < 1:
        raise BadInput("true_cfg_scale", scale, "is not a number of at least 1", "1 is none, 2 to 4 is usual")
    return scale
