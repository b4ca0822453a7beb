"""Systems of others, as baselines `NAME=KIND:PLACE` with the pre- and post-processing that the paper describes.

`flux_fill:FOLDER` and `paint_by_inpaint:FOLDER` run here, from a folder in diffusers' layout. What needs foreign code
(LayerDiffuse, LayeringDiff with ObjectClear) is rendered elsewhere and read by `precomputed:DIR`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import read_image
from bfs_model.weight import foreign, licence
from bfs_platform.data.source.files import as_stored
from bfs_platform.data.stage.fit import resized
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn

PAINT_BY_INPAINT = "StableDiffusionInstructPix2PixPipeline"


class FluxFill:
    """The backbone of the paper by itself, "default setting": guidance 30, 50 steps; its picture is the composite, as it is."""

    STEPS, GUIDANCE, MAX_TOKENS = 50, 30.0, 512

    def __init__(self, folder: Path) -> None:
        from diffusers import FluxFillPipeline

        self.pipeline = _loaded(FluxFillPipeline, folder)

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """Inpaint the box."""
        height, width = sample.object_mask.shape
        size = _rounded_up(width, height, 2 * self.pipeline.vae_scale_factor)  # diffusers packs 2×2 latents into a token
        mask = Image.fromarray((sample.box.mask(height, width) * 255).astype(np.uint8))
        out = self.pipeline(
            prompt=sample.caption,
            image=_fitted(sample.background, size),
            mask_image=mask.resize(size, Image.Resampling.NEAREST),
            width=size[0],
            height=size[1],
            num_inference_steps=steps or self.STEPS,
            guidance_scale=self.GUIDANCE,
            max_sequence_length=min(self.pipeline.tokenizer_2.model_max_length, self.MAX_TOKENS),
            generator=_generator(sample, seed),
        )
        return Drawn.flat(out.images[0].convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


class PaintByInpaint:
    """Insertion by instruction: "add" and the caption, no box; settings are the defaults of diffusers' pipeline."""

    STEPS, GUIDANCE, IMAGE_GUIDANCE = 100, 7.5, 1.5

    def __init__(self, folder: Path) -> None:
        from diffusers import StableDiffusionInstructPix2PixPipeline

        self.pipeline = _loaded(StableDiffusionInstructPix2PixPipeline, folder, safety_checker=None, requires_safety_checker=False)

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """Follow the instruction."""
        height, width = sample.object_mask.shape
        out = self.pipeline(
            prompt=f"add {sample.caption}",
            image=_fitted(sample.background, _rounded_up(width, height, self.pipeline.vae_scale_factor)),
            num_inference_steps=steps or self.STEPS,
            guidance_scale=self.GUIDANCE,
            image_guidance_scale=self.IMAGE_GUIDANCE,
            generator=_generator(sample, seed),
        )
        return Drawn.flat(out.images[0].convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


class Precomputed:
    """Pictures rendered elsewhere: `DIR/layer/ID.png` (RGBA), `DIR/composite/ID.png`, `DIR/background/ID.png`, ID as in the list.

    A layer alone is composited over the input background. A composite alone is measured as it is. A layer with a background is
    a decomposition of the true composite: it is judged by its background. Other sizes are resampled to the record's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """Read what was rendered for this record. Raises `BadInput` when nothing was, or a file is no picture."""
        layer, composite, background = (self._read(kind, sample) for kind in ("layer", "composite", "background"))
        if layer is None and composite is None:
            raise BadInput("precomputed", sample.id, f"has neither layer nor composite in {self.directory.name}", "render it")
        if layer is None:
            return Drawn.flat(Image.fromarray(np.asarray(composite)[..., :3]))
        under = sample.background if background is None else background[..., :3]
        over = composite_u8(layer, under) if composite is None else composite[..., :3]
        estimated = None if background is None else Image.fromarray(under)
        return Drawn(Image.fromarray(layer), Image.fromarray(np.ascontiguousarray(over)), background=estimated)

    def _read(self, kind: str, sample: Sample) -> np.ndarray | None:
        """uint8 RGBA [H, W, 4] at the record's size, or None where there is no file."""
        path = self.directory / as_stored(self.directory, f"{kind}/{sample.id}.png")
        if not path.resolve().is_relative_to(self.directory.resolve()):
            raise BadInput("precomputed", sample.id, "leads out of the folder", "use ids without ..")
        if not path.is_file():
            return None
        height, width = sample.object_mask.shape
        picture = read_image(path, key=kind).rgba()
        return picture if picture.shape[:2] == (height, width) else resized(picture, (width, height))


def _flux_fill(place: str) -> Callable[[Any], FluxFill]:
    folder = foreign.from_hub(place, foreign.FILL) if foreign.is_hub_id(place) else Path(place)
    foreign.check(folder, foreign.FILL)
    licence.check_flux(place)
    return lambda model: FluxFill(folder)


def _paint_by_inpaint(place: str) -> Callable[[Any], PaintByInpaint]:
    folder = Path(place)
    if foreign.layout(folder) != PAINT_BY_INPAINT:
        raise BadInput("baseline", place, f"is not a folder of {PAINT_BY_INPAINT}", "give one as diffusers saves it")
    for part in ("unet", "vae", "text_encoder"):
        if not any((folder / part).glob("*.safetensors")):
            raise BadInput("baseline", folder / part, "holds no weights in safetensors", "convert them; pickles are not loaded")
    return lambda model: PaintByInpaint(folder)


def _precomputed(place: str) -> Callable[[Any], Precomputed]:
    directory = Path(place).expanduser().absolute()
    if not any((directory / kind).is_dir() for kind in ("layer", "composite")):
        raise BadInput("baseline", place, "has no folder layer/ or composite/", "put ID.png of each record there")
    return lambda model: Precomputed(directory)


# By kind: what checks a place at once and gives the factory that loads it where it is used.
OUTSIDE: dict[str, Callable[[str], Callable[[Any], Any]]] = {
    "flux_fill": _flux_fill,
    "paint_by_inpaint": _paint_by_inpaint,
    "precomputed": _precomputed,
}


def _loaded(pipeline_class: Any, folder: Path, **settings: Any) -> Any:
    """A pipeline on the GPU in bfloat16, if there is one."""
    import torch

    cuda = torch.cuda.is_available()
    dtype = torch.bfloat16 if cuda else torch.float32
    pipeline = pipeline_class.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype, **settings)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda") if cuda else pipeline


def _rounded_up(width: int, height: int, step: int) -> tuple[int, int]:
    return -(-width // step) * step, -(-height // step) * step


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)


def _generator(sample: Sample, seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(sample.seed(seed))
