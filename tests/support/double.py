"""Training in double precision, by the product's own code: a rank that starts with `prepare` computes nothing in float32.

What float32 leaves of a sum depends on the processor, on threads and on the number of workers: 1e-7 in a step, and more after
each update of AdamW, which gives an almost vanishing gradient the full rate. In double precision the same differences are of
1e-13, so that a bound can be far above them and still far below what another formula would change.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training


def config(output: Path, recipe: str, inputs: Path, stages: Sequence[int], changes: Sequence[str] = ()) -> dict[str, Any]:
    """What a rank is told for a short run of `recipe` on the base and the sets of `inputs`."""
    return training.config(output, recipe, inputs / "base", {stage: inputs / f"stage{stage}" for stage in stages}, changes)


def prepare(inputs: Path) -> str:
    """Python that each rank runs first (`Ranks.start`); its process does nothing but this run.

    `inputs`: a folder for the base and both sets, which the first run fills. In double precision too: random weights and
    encodings in float32 would depend on the processor as a loss does.
    """
    return f"import double; double.everywhere(); double.make_inputs({str(inputs)!r}, order['rank'])\n"


def everywhere() -> None:
    """From here on float32 means float64 in this process: for torch, for diffusers and DeepSpeed, which name it, and for us."""
    from deepspeed.runtime.config import DtypeEnum

    from_numpy = torch.from_numpy
    torch.set_default_dtype(torch.float64)
    torch.float = torch.float32 = torch.float64  # type: ignore[misc]
    torch.FloatTensor = torch.DoubleTensor  # type: ignore[misc]
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    torch.from_numpy = lambda array: from_numpy(array.astype(np.float64) if array.dtype == np.float32 else array)
    DtypeEnum.fp32._value_ = torch.float64  # what a configuration calls fp32


def make_inputs(folder: str, rank: int) -> None:
    """Write the untrained bundle and a set of each stage, unless they are there."""
    root = Path(folder)
    if rank == 0:
        base = root / "base" if (root / "base").exists() else training.write_base(root / "base")
        for stage in (1, 2):
            if not (root / f"stage{stage}").exists():
                training.write_set(root / f"stage{stage}", stage, base)
    torch.distributed.barrier()
