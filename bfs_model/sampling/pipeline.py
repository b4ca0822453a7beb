"""`BFSPipeline`: a background, a box and a prompt in; an RGBA foreground layer that holds object and effects out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.latent import encoding, flow, latents
from bfs_model.network import compositor, sharing, text
from bfs_model.network.dual_branch import DualBranch
from bfs_model.picture import canvas
from bfs_model.picture.boxes import Box
from bfs_model.picture.window import Window
from bfs_model.sampling import arguments, warnings
from bfs_model.sampling.few_step import FewSteps
from bfs_model.sampling.joint_guidance import joint_guidance
from bfs_model.sampling.prompt_guidance import WITHOUT_PROMPT, PromptGuidance
from bfs_model.sampling.reference import PARTS as REFERENCE_PARTS
from bfs_model.sampling.reference import Balance, Conditions, load_encoder, prepare_all
from bfs_model.sampling.reference import conditions as read_conditions
from bfs_model.sampling.refit import refitted
from bfs_model.sampling.step_cache import StepCache, StepCaching
from bfs_model.shapes import Given
from bfs_model.weight import bundle
from bfs_model.weight import memory as memory_modes
from bfs_model.weight.loading import Loader, no_progress_bars

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
    `warnings`: lines per image on what to know before using it; see `bfs_model.sampling.warnings`.
    """

    foregrounds: list[Any]
    composites: list[Any]
    seeds: list[int | None]
    branch_composites: list[Any] | None = None
    warnings: list[list[str]] = field(default_factory=list)


class BFSPipeline(StepCaching, FewSteps, DiffusionPipeline):
    """The dual-branch sampler (paper §3) as a diffusers pipeline.

    Components are those of Flux-Fill plus `rgba_vae`, `sharing`, for training `compositor`, and, to draw from a picture, those
    of Flux-Redux: `image_encoder`, `image_embedder`, `feature_extractor`.
    `window_size`: side in pixels of the square around the box that the model works on. `guidance_scale` is what a distilled
    backbone is told, `true_cfg_scale` how much a prompt counts that one is not (`bfs_model.sampling.prompt_guidance`).
    `alpha_floor`: decoded alpha below it counts as none, so that the noise of a decoder never touches the background.
    """

    model_cpu_offload_seq = "image_encoder->image_embedder->text_encoder->text_encoder_2->transformer->vae->rgba_vae"
    _exclude_from_cpu_offload = ["sharing"]  # its blocks are called inside the transformer, it is not
    _optional_components = ["compositor", *REFERENCE_PARTS]
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
        image_encoder: Any = None,
        image_embedder: Any = None,
        feature_extractor: Any = None,
        window_size: Given[int] = 512,
        default_steps: Given[int] = 28,
        guidance_scale: Given[float] = 30.0,
        true_cfg_scale: Given[float] = 1.0,
        alpha_floor: Given[float] = 0.02,
    ) -> None:
        super().__init__()
        arguments.check_settings(vae, window_size, default_steps, guidance_scale, true_cfg_scale, alpha_floor)
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
            image_encoder=image_encoder,
            image_embedder=image_embedder,
            feature_extractor=feature_extractor,
        )
        self.register_to_config(
            window_size=window_size,
            default_steps=default_steps,
            guidance_scale=guidance_scale,
            true_cfg_scale=true_cfg_scale,
            alpha_floor=alpha_floor,
        )
        self.source = "in memory"
        self.licence: str | None = None  # that of weights which are not free; goes into every bundle that holds them
        self.untrained: tuple[str, ...] = ()  # parts that no training has seen yet; goes into bundles and models as well
        self.memory = "none"
        self._interrupt = False

    # Loading and saving

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """diffusers' own, with our classes where they are now: a bundle names the modules that they were saved from."""
        return _located(super().load_config(*args, **kwargs))

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: str | torch.dtype | None = None,
        memory: str | None = None,
        accept_flux_licence: bool = False,
        sharing_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> "BFSPipeline":
        """Load `tiny`, a bundle folder, a trained model folder, which points to its base, or a folder or hub id of FLUX.1-Fill.

        Every file that has a manifest is checked.

        Args:
            dtype: `bf16`, `fp16`, `fp32` of the frozen networks; default float32, of FLUX.1-Fill as it is stored. VAEs and
                what BFS adds are float32 always.
            memory: `none`, `offload`, `int8`, `fp8` or `nf4` (`bfs_model.weight.memory`); default the environment's BFS_MEMORY.
            accept_flux_licence: FLUX.1-Fill is for non-commercial use; BFS_ACCEPT_FLUX_LICENCE=1 says the same.
            sharing_settings: of the fresh sharing weights that FLUX.1-Fill gets, for instance `flux_fill.RELEASE`.
        Raises: `BadInput` when there is no such model or mode, `IntegrityError` when a file is missing or damaged.
        """
        mode = memory_modes.checked_mode(memory)
        precision = memory_modes.as_dtype(kwargs.pop("torch_dtype", None) if dtype is None else dtype)
        loader = Loader(cls, super().from_pretrained, precision, accept_flux_licence, sharing_settings)
        return cast("BFSPipeline", memory_modes.apply(loader.load(name, kwargs), mode))

    def load_reference_encoder(
        self, name: str | Path, *, dtype: str | torch.dtype | None = None, accept_flux_licence: bool = False
    ) -> None:
        """Take the encoder of a FLUX.1-Redux folder or hub id, or of a bundle that carries one; see `bfs_model.sampling.reference`."""
        load_encoder(self, name, dtype, accept_flux_licence)

    def save_pretrained(self, directory: str | Path, facts: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write the whole pipeline as a bundle: diffusers' layout in safetensors, and a manifest over every file and `facts`."""
        if self.memory in memory_modes.ROUNDED:
            raise BadInput("memory", self.memory, "has rounded the weights", "load the model with memory=none and save that")
        final = Path(directory).absolute()
        body = {"window_size": self.config.window_size, **(facts or {})}
        if self.licence is not None:
            body["licence"] = self.licence
        if self.untrained:
            body["untrained"] = sorted({*self.untrained})
        with integrity.staged(final, bundle.BUNDLE) as staging:
            with no_progress_bars():
                super().save_pretrained(staging, safe_serialization=True, **kwargs)
            _forget_paths(staging)
            integrity.commit(staging, final, bundle.BUNDLE, body)

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
            tokens = text.t5_tokens(list(prompts), self.tokenizer_2, self.text_encoder_2, self._t5_length)
            return tokens, text.clip_pooled(list(prompts), self.tokenizer, self.text_encoder)

    def unread(self, prompt: str) -> tuple[text.Unread, ...]:
        """What each text encoder leaves out of a prompt; nothing of most."""
        found = text.clip_unread(prompt, self.tokenizer), text.t5_unread(prompt, self.tokenizer_2, self._t5_length)
        return tuple(unread for unread in found if unread)

    @property
    def _t5_length(self) -> int:
        return min(int(self.tokenizer_2.model_max_length), 512)

    # Generation

    @torch.no_grad()
    def __call__(
        self,
        background: Any,
        box: Any,
        prompt: Any = "",
        *,
        reference: Any = None,
        reference_mask: Any = None,
        text_weight: float | int | None = None,
        image_weight: float | int = 1.0,
        reference_tokens: Given[int | None] = None,
        num_inference_steps: Given[int | None] = None,
        guidance_scale: Given[float | None] = None,
        true_cfg_scale: Given[float | None] = None,
        seed: Given[int | Sequence[int] | None] = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        composite: Any = None,
        output_type: str = "pil",
        decode_branch: bool = False,
        callback_on_step_end: Callback | None = None,
        step_cache: Given[str | StepCache | None] = None,
        return_dict: bool = True,
    ) -> BFSOutput | tuple[list[Any], list[Any], list[int | None]]:
        """Draw one layer per image; lists of equal length draw a batch.

        Args:
            background: image of any size (path, bytes, PIL or array); box: x0, y0, x1, y1 in its pixels; prompt: the object.
            reference: a picture of the object, or one per image; without a prompt it takes the place of the text. The object
                is cut out by `reference_mask` (white), or else by the picture's own alpha.
            text_weight, image_weight, reference_tokens: what text and reference count; see `bfs_model.sampling.reference.Balance`.
            true_cfg_scale: how much the prompt counts, 1 as the model was taught; see `bfs_model.sampling.prompt_guidance`.
            seed: per image; drawn at random when neither it nor `generator` (one per image) is given.
            latents: initial noise [B, C, h, w] instead of a drawn one; both branches start from it.
            composite: the finished picture; then the layer is extracted from it instead of invented.
            callback_on_step_end: called as (pipe, step, timestep, {"latents", "clean"}), the latter what the layers would be by
                one long step from here (`preview` shows it); may return new latents, or set `pipe._interrupt` to stop.
            step_cache: for this call: `first_block`, `taylorseer`, `none`, or one with settings; else what is enabled.
        Raises: `BadInput` for a bad box, image, prompt or number of steps.
        """
        if isinstance(reference, list | tuple) and isinstance(prompt, str):
            prompt = [prompt] * len(reference)
        images, boxes, prompts = arguments.batch(background, box, prompt)
        balance, objects = Balance(text_weight, image_weight, reference_tokens), prepare_all(reference, reference_mask, len(prompts))
        if output_type not in ("pil", "np", "latent"):
            raise BadInput("output_type", output_type, "is unknown", "use pil, np or latent")
        steps = arguments.checked_steps(self.config.default_steps if num_inference_steps is None else num_inference_steps)
        generators, seeds = arguments.generators(len(images), seed, generator)
        windows = [
            Window.around(b.within(i.shape[1], i.shape[0]), i.shape[1], i.shape[0], size=self.config.window_size)
            for b, i in zip(boxes, images, strict=True)
        ]
        guide = PromptGuidance.of(self, self.config.true_cfg_scale if true_cfg_scale is None else true_cfg_scale, len(images))
        x = self._start(windows, generators, latents)
        known_latents = None if composite is None else self._encode(windows, arguments.composites(composite, images))
        condition, encoded = self._condition(windows, images), read_conditions(self, prompts, objects, balance)
        with self._caching(step_cache):
            tokens = self._denoise(x, condition, encoded, steps, guidance_scale, guide, known_latents, callback_on_step_end)
        if output_type == "latent":
            layers, pictures = list(tokens.chunk(2)[1]), list(tokens.chunk(2)[0])
        else:
            layers, pictures = canvas.finish(windows, self._decode(tokens.chunk(2)[1]), images, output_type)
        if not return_dict:
            return layers, pictures, seeds
        branch = self._decode_branch(tokens.chunk(2)[0]) if decode_branch else None
        known = warnings.of_call(self, prompts, layers if output_type != "latent" else None)
        return BFSOutput(foregrounds=layers, composites=pictures, seeds=seeds, branch_composites=branch, warnings=known)

    def generate(self, background: Any, box: Any, prompt: Any, **settings: Any) -> BFSOutput:
        """Draw a foreground layer; the same as calling the pipeline."""
        return cast(BFSOutput, self(background, box, prompt, **settings))

    def extract(self, composite: Any, background: Any, box: Any, prompt: Any = "", **settings: Any) -> BFSOutput:
        """Take the layer out of a finished picture (paper §5.4): the composite branch is held at the known composite.

        `joint_guidance` (0): how much more the foreground listens to it than it was trained to; see `bfs_model.sampling.joint_guidance`.
        `refit`: wherever the layer shows anything, make it explain the picture exactly; see `bfs_model.sampling.refit`.
        """
        weight, exact = settings.pop("joint_guidance", 0.0), settings.pop("refit", False)
        if exact:  # both are needed again afterwards, and streams can be read once
            if not settings.get("return_dict", True):
                raise BadInput("refit", "true", "needs the named output", "leave out return_dict=False")
            composite, background = canvas.all_pixels(composite, "composite"), canvas.all_pixels(background, "background")
        with joint_guidance(self, weight):
            out = cast(BFSOutput, self(background, box, prompt, composite=composite, **settings))
        return cast(BFSOutput, refitted(out, composite, background)) if exact else out

    @torch.no_grad()
    def preview(self, clean: Tensor, box: Any, width: int, height: int, side: int = 256) -> Image.Image:
        """The first layer of a batch while it is being drawn, from `clean` of `callback_on_step_end`.

        Returns: RGBA on a small canvas, its longer side `side` pixels; `width`, `height` and `box` are those of the picture.
        """
        window = Window.around(Box.of(box), width, height, size=self.config.window_size)
        return canvas.preview(window, self._decode(clean[:1])[0], side)

    def _latent_shape(self) -> tuple[int, int, int]:
        side = self.config.window_size // encoding.spatial_factor(self.vae)
        return self.vae.config.latent_channels, side, side

    def _start(self, windows: list[Window], generators: list[torch.Generator], given: Tensor | None) -> Tensor:
        shape = self._latent_shape()
        if given is None:
            given = torch.stack([torch.randn(shape, generator=g, device=g.device).to(self._execution_device) for g in generators])
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
        prompts: Conditions,
        steps: int,
        guidance: Given[float | None],
        guide: PromptGuidance | None,
        known: Tensor | None,
        callback: Callback | None,
    ) -> Tensor:
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        mu = flow.time_shift(noise.shape[1]) if scheduler.config.use_dynamic_shifting else None
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu, device=noise.device)
        side = self._latent_shape()[1]
        ids = latents.image_ids(side, side, noise.device)
        x = torch.cat([noise, noise])
        guidance = self.config.guidance_scale if guidance is None else arguments.checked_guidance(guidance)
        self._interrupt = False
        for step, t in enumerate(self.progress_bar(scheduler.timesteps)):
            sigma = scheduler.sigmas[step].expand(len(noise)).to(noise.device)
            x = _hold_composite(x, known, noise, sigma)
            velocity = self._velocity(x, condition, sigma, prompts.tokens, prompts.pooled, ids, guidance, prompts.bias)
            if guide is not None:
                none = guide.nothing
                without = self._velocity(x, condition, sigma, none.tokens, none.pooled, ids, guidance, pass_name=WITHOUT_PROMPT)
                velocity = guide.guided(velocity, without)
            before, x = x, scheduler.step(velocity, t, x, return_dict=False)[0]
            if callback is not None:
                clean = flow.clean_estimate(before, velocity, sigma.repeat(2)).chunk(2)[1]
                x = (callback(self, step, int(t), {"latents": x, "clean": clean}) or {}).get("latents", x)
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


def _located(index: dict[str, Any]) -> dict[str, Any]:
    """`model_index.json` with the modules of our own classes as they are called now."""
    modules = {kind.__name__: kind.__module__ for kind in (sharing.InformationSharing, compositor.LatentCompositor)}
    parts = {part: value[1] for part, value in index.items() if isinstance(value, list) and len(value) == 2}
    return {**index, **{part: [modules[name], name] for part, name in parts.items() if name in modules}}


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
