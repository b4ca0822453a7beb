"""What people do today without BFS, and the most that BFS can reach: both use parts of the model under evaluation.

`two_step`: its backbone alone inpaints the box (diffusers' own `FluxFillPipeline`), then the object is cut out by matting.
`vae_truth`: the true layer through its RGBA VAE, there and back.
"""

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.latent import encoding
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.window import Window
from bfs_model.sampling.prompt_guidance import PromptGuidance
from bfs_platform.data.record import Reject
from bfs_platform.data.spec import MattingSpec
from bfs_platform.data.stage.matting import matting
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn, LayerModel, PipelineModel
from bfs_platform.evaluate.system.truth import least_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

_VISIBLE = 20  # levels of 255: what differs by more from the background belongs to the object


class TwoStep:
    """Inpaint, then matte. The mask for the matting is what changed in the box: its largest piece, holes filled."""

    def __init__(self, model: LayerModel) -> None:
        self.pipeline = _pipeline_of(model)
        self.matting = matting(MattingSpec())

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """A layer with the object alone: what lies around it, its shadow too, stays in the inpainted picture and is lost."""
        height, width = sample.object_mask.shape
        window = Window.around(sample.box, width, height, size=self.pipeline.config.window_size)
        before = np.rint(window.crop(sample.background) * 255).astype(np.uint8)
        after = self._inpainted(before, window, sample, seed, steps)
        mask = _changed(before, after, window.box.mask(window.size, window.size) > 0)
        layer = np.zeros((window.size, window.size, 4), np.float32)
        if mask.any():
            try:
                layer = self.matting.cut_out(after, np.where(mask, np.uint8(255), np.uint8(0)))
            except Reject:
                layer[mask] = np.dstack([after / np.float32(255), np.ones_like(mask, np.float32)])[mask]
        placed = window.place_u8(layer)
        return Drawn(Image.fromarray(placed), Image.fromarray(composite_u8(placed, sample.background)))

    def _inpainted(self, picture: np.ndarray, window: Window, sample: Sample, seed: int, steps: int | None) -> np.ndarray:
        import torch

        mask = Image.fromarray((window.box.mask(window.size, window.size) * 255).astype(np.uint8))
        with _fill_pipeline(self.pipeline) as fill:
            out = fill(
                prompt=sample.caption,
                image=Image.fromarray(picture),
                mask_image=mask,
                height=window.size,
                width=window.size,
                guidance_scale=self.pipeline.config.guidance_scale,
                num_inference_steps=steps or self.pipeline.config.default_steps,
                max_sequence_length=min(self.pipeline.tokenizer_2.model_max_length, 512),
                generator=torch.Generator().manual_seed(sample.seed(seed)),
            )
        return np.asarray(out.images[0].convert("RGB"))


class VaeTruth:
    """The ceiling of the layers that the model can express."""

    def __init__(self, model: LayerModel) -> None:
        self.pipeline = _pipeline_of(model)

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """The true layer as the RGBA VAE gives it back."""
        import torch

        height, width = sample.object_mask.shape
        window = Window.around(sample.box, width, height, size=self.pipeline.config.window_size)
        truth = least_layer(sample.truth, sample.background, sample.object_mask, sample.effect)
        vae = self.pipeline.rgba_vae
        with torch.no_grad():
            mean, _ = encoding.encode_images(vae, encoding.to_tensor(window.crop(truth))[None].to(vae.dtype))
            layer = encoding.to_image(encoding.decode_latents(vae, mean))[0]
        floor = self.pipeline.config.alpha_floor
        layer[..., 3] = np.clip((layer[..., 3] - floor) / (1 - floor), 0, 1)
        placed = window.place_u8(layer)
        return Drawn(Image.fromarray(placed), Image.fromarray(composite_u8(placed, sample.background)))


@contextmanager
def _fill_pipeline(pipeline: Any) -> "Iterator[Any]":
    """diffusers' inpainting pipeline over the same parts, with information sharing taken off for as long.

    It is guided as the model is: one that leans on its prompts by `true_cfg_scale` is compared with a backbone that does.
    """
    from diffusers import FluxFillPipeline

    names = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    guide = PromptGuidance.of(pipeline, pipeline.config.true_cfg_scale, 1)
    transformer = pipeline.dual_branch.eject()
    handle = None if guide is None else transformer.register_forward_hook(partial(_guided, guide), with_kwargs=True)
    try:
        fill = FluxFillPipeline(transformer=transformer, **{name: getattr(pipeline, name) for name in names})
        fill.set_progress_bar_config(disable=True)
        yield fill
    finally:
        if handle is not None:
            handle.remove()
        pipeline.dual_branch.inject()


def _guided(guide: PromptGuidance, transformer: Any, given: tuple[Any, ...], named: dict[str, Any], output: tuple[Any, ...]) -> tuple[Any]:
    """The velocity that diffusers' pipeline gets to see: a second pass, without the prompt, stands behind it."""
    nothing = {"encoder_hidden_states": guide.nothing.tokens, "pooled_projections": guide.nothing.pooled}
    without = transformer.forward(*given, **(named | nothing))
    return (guide.guided(output[0], without[0]),)


def _changed(before: np.ndarray, after: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Bool [H, W]: the largest connected piece of what changed visibly inside the box, without holes."""
    from scipy.ndimage import binary_fill_holes, label

    changed = (np.abs(before.astype(np.int16) - after.astype(np.int16)).max(axis=-1) > _VISIBLE) & inside
    pieces, count = label(changed)
    if count == 0:
        return changed
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(binary_fill_holes(pieces == largest))


def _pipeline_of(model: LayerModel) -> Any:
    if not isinstance(model, PipelineModel):
        raise BadInput("baseline", "two_step or vae_truth", "needs a BFSPipeline", "leave it out for other models")
    return model.pipeline
