"""Few-step sampling: a distillation LoRA of Flux (such as FLUX.1-Turbo-Alpha, eight steps) merged into the frozen base."""

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from bfs_model.errors import BadInput
from bfs_model.sampling.arguments import checked_steps

_PREFIX = "transformer"


class FewSteps:
    """What a pipeline with a `transformer` and a `dual_branch` gains: few-step sampling."""

    transformer: Any
    dual_branch: Any

    def merge_few_step_lora(self, path: str | Path, num_steps: int = 8, scale: float | int = 1.0) -> None:
        """Merge a LoRA of the base (safetensors, names `transformer.….lora_A.weight`) and draw in `num_steps` by default.

        It is added into the base's weights: a step costs what it did, and sharing reuses the merged projections. To undo
        it, load the model again. Sharing weights were not trained on distilled trajectories: look at the results.

        Raises: `BadInput` when there is no such file or its weights do not fit the base.
        """
        num_steps = checked_steps(num_steps)
        if not math.isfinite(scale):
            raise BadInput("scale", scale, "is not a finite number", "1 is the LoRA as it was trained")
        state = _read(Path(path))
        transformer = self.dual_branch.eject()
        try:
            _check(transformer, state, path)
            transformer.load_lora_adapter(state, prefix=_PREFIX, adapter_name="few_step")
            transformer.fuse_lora(lora_scale=scale)
            transformer.unload_lora()
            transformer.requires_grad_(False)
        finally:
            self.dual_branch.inject()
        self.register_to_config(default_steps=num_steps)  # type: ignore[attr-defined]


def _read(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput("few_step_lora", path, f"cannot be read ({error})", "give a .safetensors file") from None


def _check(transformer: Any, state: dict[str, Any], path: str | Path) -> None:
    """Refuse a LoRA of another geometry before anything is changed."""
    modules = dict(transformer.named_modules())
    for name, tensor in state.items():
        module, _, part = name.removeprefix(f"{_PREFIX}.").rpartition(".lora_")
        layer: Any = modules.get(module)
        fits = hasattr(layer, "in_features") and name.startswith(f"{_PREFIX}.") and tensor.ndim == 2
        if fits and part == "A.weight":
            fits = tensor.shape[1] == layer.in_features
        elif fits:
            fits = part == "B.weight" and tensor.shape[0] == layer.out_features
        if not fits:
            raise BadInput("few_step_lora", path, f"holds {name}, which does not fit this base", "use a LoRA of this base")
    ranks: dict[str, dict[str, int]] = {}
    for name, tensor in state.items():
        module, _, part = name.rpartition(".lora_")
        ranks.setdefault(module, {})[part] = tensor.shape[0 if part == "A.weight" else 1]
    for module, found in ranks.items():
        if len(found) != 2 or len(set(found.values())) != 1:
            raise BadInput("few_step_lora", path, f"holds half a pair, or two ranks, of {module}", "give the whole file")
    if not state:
        raise BadInput("few_step_lora", path, "holds no weights", "use a LoRA of this base")
