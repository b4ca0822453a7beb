"""`BFSPipeline`: a background, a box and a prompt in; an RGBA foreground layer that holds object and effects out."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import Tensor
from transformers.utils import logging as transformers_logging

from bfs_model import bundle, compositor, draws, encoding, flow, integrity, latents, sharing, text
from bfs_model.boxes import Box
from bfs_model.compositing import composite_u8
from bfs_model.dual_branch import DualBranch
from bfs_model.errors import BadInput
from bfs_model.images import read_image
from bfs_model.window import Window

# diffusers loads a bundle's own classes only from modules that are already imported.
_OF_LOADING = {"_name_or_path", "is_local", "local_files_only"}
_COMPONENT_MODULES = (compositor, sharing)
Callback = Callable[[Any, int, int, dict[str, Tensor]], dict[str, Tensor] | None]


@dataclass
class BFSOutput(BaseOutput):
    """What a call draws, one entry per image, in the coordinates and size of the background.

    `foregrounds`: RGBA layers (PIL; with `output_type` "np" float [H, W, 4], with "latent" packed tokens).
    `composites`: RGB, the layer over the untouched background. `seeds`: the seed of each image.
    `branch_composites`: what the composite branch imagined, in the window (only with `decode_branch`).
    """

    foregrounds: list[Any]
    composites: list[Any]
    seeds: list[int | None]
    branch_composites: list[Any] | None = None


class BFSPipeline(DiffusionPipeline):
    """The dual-branch sampler (paper §3) as a diffusers pipeline.

    Components are those of Flux-Fill plus `rgba_vae`, `sharing` and, for training, `compositor`.
    `window_size`: side in pixels of the square around the box that the model works on. `alpha_floor`: decoded alpha
    below it counts as none, so that the noise of a decoder never touches the background.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae->rgba_vae"
    _optional_components = ["compositor"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        scheduler: Any,
        vae: Any,
        rgba_vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        text_encoder_2: Any,
        tokenizer_2: Any,
        transformer: Any,
        sharing: Any,
        compositor: Any = None,
        window_size: int = 512,
        default_steps: int = 28,
        guidance_scale: float = 30.0,
        alpha_floor: float = 0.02,
    ) -> None:
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            rgba_vae=rgba_vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transformer=transformer,
            sharing=sharing,
            compositor=compositor,
        )
        self.register_to_config(
            window_size=window_size, default_steps=default_steps, guidance_scale=guidance_scale, alpha_floor=alpha_floor
        )
        self.source = "in memory"
        self._interrupt = False

    # Loading and saving

    @classmethod
    def from_pretrained(cls, name: str | Path, **kwargs: Any) -> "BFSPipeline":
        """Load `tiny`, a bundle folder, or a trained model folder, which points to its base. Every file is checked.

        Weights are loaded as float32 unless `dtype` says otherwise.

        Raises: `BadInput` when there is no such folder, `IntegrityError` when a file is missing or damaged.
        """
        path = bundle.locate(name)
        manifest = integrity.verify(path)
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", torch.float32)  # whatever precision the weights are stored in
        if manifest["kind"] == bundle.MODEL:
            pipe = cls.from_pretrained(bundle.base_of(path, manifest), **kwargs)
            for part in bundle.TRAINED_PARTS:
                if (path / part).is_dir():
                    module = type(getattr(pipe, part)).from_pretrained(path / part, use_safetensors=True, dtype=pipe.dtype)
                    pipe.register_modules(**{part: module.to(pipe.device).eval()})
        elif manifest["kind"] == bundle.BUNDLE:
            with _no_progress_bars():
                pipe = super().from_pretrained(str(path), use_safetensors=True, local_files_only=True, **kwargs)
        else:
            raise BadInput("model", name, f"is a {manifest['kind']}", "give a bundle or a model")
        pipe.source = f"{name}@{manifest['content_hash'][:12]}"
        return pipe

    def save_pretrained(self, directory: str | Path, facts: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write the whole pipeline as a bundle: diffusers' layout in safetensors, and a manifest over every file and `facts`."""
        final = Path(directory).absolute()
        staging = integrity.staging_for(final)
        with _no_progress_bars():
            super().save_pretrained(staging, safe_serialization=True, **kwargs)
        _forget_paths(staging)
        integrity.commit(staging, final, bundle.BUNDLE, {"window_size": self.config.window_size, **(facts or {})})

    # Conditions

    @property
    def dual_branch(self) -> DualBranch:
        """The transformer with the sharing weights injected."""
        current = self.__dict__.get("_dual_branch")
        if current is None or current.transformer is not self.transformer or current.sharing is not self.sharing:
            if current is not None:
                current.eject()
            current = self.__dict__["_dual_branch"] = DualBranch(self.transformer, self.sharing).eval()
        current.inject()
        return current

    def encode_prompt(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """T5 token embeddings [N, L, D] and CLIP's pooled embedding [N, P]."""
        with torch.no_grad():
            length = min(self.tokenizer_2.model_max_length, 512)
            tokens = text.t5_tokens(list(prompts), self.tokenizer_2, self.text_encoder_2, length)
            return tokens, text.clip_pooled(list(prompts), self.tokenizer, self.text_encoder)

    # Generation

    @torch.no_grad()
    def __call__(
        self,
        background: Any,
        box: Any,
        prompt: Any,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        composite: Any = None,
        output_type: str = "pil",
        decode_branch: bool = False,
        callback_on_step_end: Callback | None = None,
        return_dict: bool = True,
    ) -> BFSOutput | tuple[list[Any], list[Any], list[int | None]]:
        """Draw one layer per image; lists of equal length draw a batch.

        Args:
            background: image of any size (path, bytes, PIL or array); box: x0, y0, x1, y1 in its pixels; prompt: the object.
            seed: per image; drawn at random when neither it nor `generator` (one per image) is given.
            latents: initial noise [B, C, h, w] instead of a drawn one; both branches start from it.
            composite: the finished picture; then the layer is extracted from it instead of invented.
            callback_on_step_end: called as (pipe, step, timestep, {"latents"}); may return new latents, or set
                `pipe._interrupt` to stop.
        Raises: `BadInput` for a bad box, image, prompt or number of steps.
        """
        images, boxes, prompts = _as_batch(background, box, prompt)
        if output_type not in ("pil", "np", "latent"):
            raise BadInput("output_type", output_type, "is unknown", "use pil, np or latent")
        steps = _checked_steps(self.config.default_steps if num_inference_steps is None else num_inference_steps)
        generators, seeds = _generators(len(images), seed, generator)
        windows = [
            Window.around(b.within(i.shape[1], i.shape[0]), i.shape[1], i.shape[0], size=self.config.window_size)
            for b, i in zip(boxes, images, strict=True)
        ]
        known = (
            None
            if composite is None
            else [_array(c, "composite") for c in (composite if isinstance(composite, list | tuple) else [composite])]
        )
        x = self._start(windows, generators, latents)
        known_latents = None if known is None else self._encode(windows, known)
        tokens = self._denoise(
            x, self._condition(windows, images), self.encode_prompt(prompts), steps, guidance_scale, known_latents, callback_on_step_end
        )
        if output_type == "latent":
            layers, pictures = list(tokens.chunk(2)[1]), list(tokens.chunk(2)[0])
        else:
            layers, pictures = _finish(windows, self._decode(tokens.chunk(2)[1]), images, output_type)
        if not return_dict:
            return layers, pictures, seeds
        branch = self._decode_branch(tokens.chunk(2)[0]) if decode_branch else None
        return BFSOutput(foregrounds=layers, composites=pictures, seeds=seeds, branch_composites=branch)

    def generate(self, background: Any, box: Any, prompt: Any, **settings: Any) -> BFSOutput:
        """Draw a foreground layer; the same as calling the pipeline."""
        return cast(BFSOutput, self(background, box, prompt, **settings))

    def extract(self, composite: Any, background: Any, box: Any, prompt: Any = "", **settings: Any) -> BFSOutput:
        """Take the layer out of a finished picture (paper §5.4): the composite branch is held at the known composite."""
        return cast(BFSOutput, self(background, box, prompt, composite=composite, **settings))

    # Steps of a call

    def _latent_shape(self) -> tuple[int, int, int]:
        side = self.config.window_size // encoding.spatial_factor(self.vae)
        return self.vae.config.latent_channels, side, side

    def _start(self, windows: list[Window], generators: list[torch.Generator], given: Tensor | None) -> Tensor:
        shape = self._latent_shape()
        if given is None:
            given = torch.stack([torch.randn(shape, generator=g) for g in generators])
        elif given.shape != (len(windows), *shape):
            raise BadInput("latents", tuple(given.shape), "has the wrong shape", f"give {(len(windows), *shape)}")
        return latents.pack(given.to(self._execution_device, torch.float32))

    def _encode(self, windows: list[Window], images: list[np.ndarray]) -> Tensor:
        crops = torch.stack([encoding.to_tensor(w.crop(i)) for w, i in zip(windows, images, strict=True)])
        return encoding.encode_images(self.vae, crops)[0]

    def _condition(self, windows: list[Window], images: list[np.ndarray]) -> Tensor:
        size = self.config.window_size
        mask = latents.box_masks(torch.tensor([list(w.box) for w in windows]), size, size).to(self._execution_device)
        return latents.condition(self._encode(windows, images), mask, encoding.spatial_factor(self.vae))

    def _denoise(
        self,
        noise: Tensor,
        condition: Tensor,
        prompts: tuple[Tensor, Tensor],
        steps: int,
        guidance: float | None,
        known: Tensor | None,
        callback: Callback | None,
    ) -> Tensor:
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        mu = flow.time_shift(noise.shape[1]) if scheduler.config.use_dynamic_shifting else None
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu, device=noise.device)
        side = self._latent_shape()[1]
        ids = latents.image_ids(side, side, noise.device)
        x = torch.cat([noise, noise])
        guidance = self.config.guidance_scale if guidance is None else guidance
        self._interrupt = False
        for step, t in enumerate(self.progress_bar(scheduler.timesteps)):
            sigma = scheduler.sigmas[step].expand(len(noise)).to(noise.device)
            x = _hold_composite(x, known, noise, sigma)
            velocity = self.dual_branch(x.to(self.transformer.dtype), condition.to(self.transformer.dtype), sigma, *prompts, ids, guidance)
            x = scheduler.step(velocity.float(), t, x, return_dict=False)[0]
            if callback is not None:
                x = (callback(self, step, int(t), {"latents": x}) or {}).get("latents", x)
            if self._interrupt:
                break
        return _hold_composite(x, known, noise, torch.zeros(len(noise), device=x.device))

    def _decode(self, tokens: Tensor) -> list[np.ndarray]:
        _, height, width = self._latent_shape()
        layers = encoding.to_image(encoding.decode_latents(self.rgba_vae, latents.unpack(tokens, height, width)))
        floor = self.config.alpha_floor
        layers[..., 3] = np.clip((layers[..., 3] - floor) / (1 - floor), 0, 1)
        return list(layers)

    def _decode_branch(self, tokens: Tensor) -> list[Image.Image]:
        _, height, width = self._latent_shape()
        images = encoding.to_image(encoding.decode_latents(self.vae, latents.unpack(tokens, height, width)))
        return [Image.fromarray(np.rint(image * 255).astype(np.uint8), "RGB") for image in images]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading a local folder takes less time than drawing the libraries' bars."""
    shown = [(m, m.is_progress_bar_enabled()) for m in (diffusers_logging, transformers_logging)]
    for module, _ in shown:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, enabled in shown:
            if enabled:
                module.enable_progress_bar()


def _forget_paths(directory: Path) -> None:
    """Remove what says where parts were loaded from: it says nothing about them, and would change their hash."""
    for path in [directory / "model_index.json", *directory.glob("*/*config.json")]:
        config = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in config.items() if key not in _OF_LOADING}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _hold_composite(x: Tensor, known: Tensor | None, noise: Tensor, sigma: Tensor) -> Tensor:
    """Put the known composite, at this noise level and with one fixed noise, into the composite branch."""
    if known is None:
        return x
    return torch.cat([flow.noised(latents.pack(known), noise, sigma), x.chunk(2)[1]])


def _as_batch(background: Any, box: Any, prompt: Any) -> tuple[list[np.ndarray], list[Box], list[str]]:
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not all(isinstance(p, str) for p in prompts):
        raise BadInput("prompt", prompts, "is not text", "give one text per image")
    backgrounds = list(background) if isinstance(background, list | tuple) else [background] * len(prompts)
    boxes = list(box) if isinstance(box, list | tuple) and not isinstance(box[0], int | float | np.integer) else [box] * len(prompts)
    if not len(prompts) == len(backgrounds) == len(boxes):
        raise BadInput(
            "batch", (len(backgrounds), len(boxes), len(prompts)), "counts of backgrounds, boxes and prompts differ", "give equally many"
        )
    return [_array(b, "background") for b in backgrounds], [Box.of(b) for b in boxes], prompts


def _array(image: Any, key: str) -> np.ndarray:
    """Float RGB [H, W, 3] in [0, 1] of anything an image can be."""
    if isinstance(image, np.ndarray):
        return (image[..., :3] / 255 if image.dtype == np.uint8 else image[..., :3]).astype(np.float32)
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"), np.float32) / 255
    return read_image(image, key=key).rgb.astype(np.float32) / 255


def _checked_steps(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 1000:
        raise BadInput("steps", steps, "is not a whole number from 1 to 1000", "28 is a good choice")
    return steps


def _generators(count: int, seed: Any, generator: Any) -> tuple[list[torch.Generator], list[int | None]]:
    if generator is not None:
        generators = list(generator) if isinstance(generator, list | tuple) else [generator] * count
        if len(generators) != count:
            raise BadInput("generator", len(generators), f"generators for {count} images", "give one per image")
        return generators, [g.initial_seed() for g in generators]
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    seeds = [int(s) for s in seed] if isinstance(seed, list | tuple) else [seed + i for i in range(count)]
    if len(seeds) != count:
        raise BadInput("seed", seeds, f"are not {count} seeds", "give one per image")
    return [draws.generator("bfs", s) for s in seeds], list(seeds)


def _finish(windows: list[Window], decoded: list[np.ndarray], images: list[np.ndarray], output_type: str) -> tuple[list[Any], list[Any]]:
    """Layers on the full canvas, and the composites over the untouched backgrounds."""
    placed = [window.place_u8(layer) for window, layer in zip(windows, decoded, strict=True)]
    pictures = [composite_u8(layer, np.rint(image * 255).astype(np.uint8)) for layer, image in zip(placed, images, strict=True)]
    if output_type == "np":
        layers = [window.place(layer) for window, layer in zip(windows, decoded, strict=True)]
        return layers, [p.astype(np.float32) / 255 for p in pictures]
    return [Image.fromarray(layer, "RGBA") for layer in placed], [Image.fromarray(p, "RGB") for p in pictures]
