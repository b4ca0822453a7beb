"""The real engine: `BFSPipeline` with one loaded model."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.weight import bundle
from bfs_serve.job.engine import Canceled, Generation, ModelInfo, OnStep, Pin, Request, Settings
from bfs_serve.job.orders import REFERENCE
from bfs_serve.model.prompt_cache import PromptCache
from bfs_serve.telemetry.amounts import Amounts

_REGISTRY = "models:/"
_FOREIGN = "photograph"  # a word of the world outside


class PipelineEngine:
    """Serves `tiny`, a model folder, or a registry URI such as `models:/bfs@champion`; on the GPU when there is one."""

    batches_exactly = False

    def __init__(self, name: str, pin: Pin) -> None:
        from bfs_model import BFSPipeline
        from bfs_model.weight.memory import to_accelerator

        path = _path(pin.uri)
        found = bundle.content_hash(path)
        if found != pin.version:
            raise BadInput("model", pin.uri, "has changed while it was being loaded", "it is looked for again shortly")
        pipe = BFSPipeline.from_pretrained(path)
        self._pipe = to_accelerator(pipe)
        self._pipe.set_progress_bar_config(disable=True)
        self._prompts = PromptCache(self._pipe.encode_prompt)
        self._pipe.encode_prompt = self._prompts
        self.info = ModelInfo(
            name,
            pin.version,
            () if pipe.image_encoder is None else (REFERENCE,),
            default_steps=int(pipe.config.default_steps),
            true_cfg_scale=float(pipe.config.true_cfg_scale),
            window_size=int(pipe.config.window_size),
            vocabulary=_vocabulary(pipe),
            licence=pipe.licence,
        )

    @classmethod
    def locate(cls, name: str) -> Pin:
        """The registry version, or the content hash of the folder, that `name` now means."""
        if name.startswith(_REGISTRY):
            from bfs_platform.registry.resolve import located

            return Pin(*located(name))
        return Pin(name, bundle.content_hash(bundle.locate(name)))

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        """See `bfs_serve.job.engine.Engine`. One after the other: as a batch they would differ by a level here and there."""

        def told(before: int) -> OnStep:
            return lambda done, total, preview: on_step(before * total + done, len(requests) * total, preview)

        return [self._batch([request], settings, told(i), canceled)[0] for i, request in enumerate(requests)]

    def _batch(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        steps = settings.steps or self.info.default_steps

        def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if canceled():
                raise Canceled
            clean, first = tensors["clean"], requests[0]
            on_step(step + 1, steps, lambda: [self._pipe.preview(clean, first.box, *first.background.size)])
            return {}

        call: dict[str, Any] = {"num_inference_steps": steps, "seed": [r.seed for r in requests], "callback_on_step_end": after_step}
        if settings.true_cfg_scale is not None:
            call["true_cfg_scale"] = settings.true_cfg_scale
        if settings.step_cache != "none":
            call["step_cache"] = settings.step_cache
        backgrounds, boxes, prompts = ([getattr(r, name) for r in requests] for name in ("background", "box", "prompt"))
        if requests[0].composite is not None:
            call |= {"joint_guidance": settings.joint_guidance, "refit": settings.refit}
            out = self._pipe.extract([r.composite for r in requests], backgrounds, boxes, prompts, **call)
        else:
            if any(r.reference is not None for r in requests):
                call["reference"] = [r.reference for r in requests]
            out = self._pipe(backgrounds, boxes, prompts, **call)
        drawn = zip(out.foregrounds, out.seeds, out.warnings, strict=True)
        return [Generation(layer, seed, tuple(warnings)) for layer, seed, warnings in drawn]

    def counted(self) -> Amounts:
        """See `bfs_serve.job.engine.Engine`."""
        return self._prompts.tally.drain()


def _path(uri: str) -> Path:
    """The folder of a model, downloaded from the registry if need be. Raises `BadInput` when there is none."""
    if uri.startswith(_REGISTRY):
        from bfs_platform.registry.resolve import resolve

        return resolve(uri)
    return bundle.locate(uri)


def _vocabulary(pipe: Any) -> dict[str, list[str]] | None:
    """The words of the tabletop world that the model knows, as prompts say them; None where it knows others as well.

    The tokenizers of that world were grown from its captions: words that stood there are one token, all others are spelled.
    """
    from bfs_platform.tabletop.vocabulary import COLOURS, MATERIALS, SHAPES, SIZES

    def known(words: str) -> bool:
        return len(pipe.tokenizer(words).input_ids) == len(words.split()) + 2  # between a start and an end

    kinds: dict[str, Iterable[str]] = {"size": SIZES, "colour": COLOURS, "material": MATERIALS.values(), "shape": SHAPES}
    found = {kind: [word for word in words if known(word)] for kind, words in kinds.items()}
    return found if all(found.values()) and not known(_FOREIGN) else None
