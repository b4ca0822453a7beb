"""The real engine: `BFSPipeline` with one loaded model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bfs_model import bundle
from bfs_serve.orders import REFERENCE, Canceled, Generation, ModelInfo

_REGISTRY = "models:/"


class PipelineEngine:
    """Serves `tiny`, a model folder, or a registry URI such as `models:/bfs@champion`; on the GPU when there is one."""

    def __init__(self, model: str) -> None:
        from bfs_model import BFSPipeline
        from bfs_model.memory import to_accelerator

        path = _path(model)
        pipe = BFSPipeline.from_pretrained(path)
        self._pipe = to_accelerator(pipe)
        self._pipe.set_progress_bar_config(disable=True)
        capabilities = () if pipe.image_encoder is None else (REFERENCE,)
        self.info = ModelInfo(model, bundle.content_hash(path), capabilities)

    @classmethod
    def locate(cls, model: str) -> str:
        """The registry version, or the content hash of the folder, that `model` now means."""
        if model.startswith(_REGISTRY):
            from bfs_platform.registry.resolve import pin

            return pin(model)
        return bundle.content_hash(model)

    def generate(
        self,
        background: Image.Image,
        box: tuple[int, int, int, int],
        prompt: str,
        seed: int,
        steps: int | None,
        on_step: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        reference: Image.Image | None = None,
    ) -> Generation:
        """See `bfs_serve.orders.Engine`."""
        steps = steps or int(self._pipe.config.default_steps)

        def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if cancelled():
                raise Canceled
            on_step(step + 1, steps)
            return {}

        settings = {"num_inference_steps": steps, "seed": seed, "callback_on_step_end": after_step}
        out = self._pipe(background=background, box=box, prompt=prompt, reference=reference, **settings)
        return Generation(out.foregrounds[0], seed)


def _path(model: str) -> Path:
    """The folder of a model, downloaded from the registry if need be. Raises `BadInput` when there is none."""
    if model.startswith(_REGISTRY):
        from bfs_platform.registry.resolve import resolve

        return resolve(model)
    return bundle.locate(model)
