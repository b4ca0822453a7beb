"""Which learned metrics an evaluation takes, and where their weights are."""

from pydantic import Field

from bfs_platform.config import Spec

THIS_PYTHON = "python"


class LearnedSpec(Spec):
    """Learned metrics; null leaves one out.

    `clip`, `dino`: a folder or a hub id of a CLIP and of a DINOv2 model in the layout of transformers, safetensors only.
    `kid`: `clip`, `dino` or `"package.module:function"`: whose features the distance is taken over. The function is called
    with the torch device and returns a `encoders.FeatureExtractor`; one over Inception gives figures comparable with papers.
    `kid_subsets` and `kid_subset_size` as in torch-fidelity, clean-fid and torchmetrics; with no more records than
    `kid_subset_size`, subsets hold half of them.
    `pyiqa` (MUSIQ and MANIQA; PolyForm Noncommercial licence) and `hpsv3`: the Python interpreter of an environment in which
    the package is installed; `python` is the one that runs the evaluation.
    """

    clip: str | None = None
    dino: str | None = None
    kid: str | None = None
    kid_subsets: int = Field(default=100, ge=1)
    kid_subset_size: int = Field(default=1000, ge=2)
    pyiqa: str | None = None
    hpsv3: str | None = None
