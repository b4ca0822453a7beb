"""An object shown instead of described: Flux-Redux turns a picture into tokens that take the place of the text (paper §5).

How picture and text share is decided by counting. A weight w gives each token of its kind the attention of w tokens
(log w on its scores), so the attention that it gets grows strictly with w; scaling embeddings does not do that. Fewer
picture tokens, pooled by average, say less of the details and leave more room for the text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bfs_model import integrity
from bfs_model.device import execution_device
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import bounding_box
from bfs_model.picture.images import MAX_PIXELS, checked_array, read_image, to_u8
from bfs_model.shapes import Float, Given
from bfs_model.weight import bundle, foreign, licence, memory

PARTS = ("image_encoder", "image_embedder", "feature_extractor")
MARGIN = 1.3  # side of the square around the object, in longer sides of the object


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the backbone reads: tokens [N, L, D], the pooled text [N, P], and what is added to the scores of the tokens [N, L]."""

    tokens: Tensor
    pooled: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Balance:
    """How much text and picture count. `text` None: 1 with a prompt, 0 without, so that the picture replaces the text; each
    image of a batch for itself.

    `num_tokens`: to how many tokens a picture is pooled, a square number; all of them when None.
    """

    text: float | int | None = None
    image: float | int = 1.0
    num_tokens: Given[int | None] = None

    def __post_init__(self) -> None:
        for key, weight in (("text_weight", self.text), ("image_weight", self.image)):
            if weight is not None and not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
                raise BadInput(key, weight, "is not a weight", "give 0 to leave it out, 1 for its own share, 2 for twice as much")


def conditions(pipe: Any, prompts: Sequence[str], pictures: Sequence[Image.Image] | None, balance: Balance) -> Conditions:
    """Text and pictures as the backbone reads them; one picture per prompt, prepared, each encoded for itself.

    Raises: `BadInput` when there is nothing to go by, or no encoder for pictures.
    """
    tokens, pooled = pipe.encode_prompt(prompts)
    weights = {"text_weight": balance.text, "image_weight": balance.image}
    text = [balance.text if balance.text is not None else float(pictures is None or bool(p.strip())) for p in prompts]
    kinds: list[tuple[Tensor, list[float | int]]] = [(tokens, text)]
    if pictures is not None and balance.image > 0:
        kinds.append((pool(encode(pipe, pictures), balance.num_tokens).to(tokens), [balance.image] * len(prompts)))
    if not all(any(own) for own in zip(*(counts for _, counts in kinds), strict=True)):
        raise BadInput("weights", weights, "leave nothing to go by", "give a text_weight or an image_weight above 0")
    kinds = [(part, counts) for part, counts in kinds if any(counts)]
    bias = torch.cat(
        [torch.tensor([math.log(c) if c else -math.inf for c in counts])[:, None].expand(-1, part.shape[1]) for part, counts in kinds],
        dim=1,
    )
    return Conditions(torch.cat([part for part, _ in kinds], dim=1), pooled, bias.to(tokens) if bias.any() else None)


def prepare(reference: Any, mask: Any = None) -> Image.Image:
    """The object of a picture on white, in the middle of a square 1.3 times its longer side: RGB.

    The object is where `mask` (a picture of the same size) is white, or else what the picture's own alpha shows. A picture
    without either is taken whole. Raises `BadInput` when sizes differ or the mask covers nothing.
    """
    pixels = np.asarray(cut_out(reference, mask))
    rgb, cover = pixels[..., :3], pixels[..., 3:].astype(np.float32) / 255
    if cover.min() == 1:
        height, width = rgb.shape[:2]
        return _squared(rgb, max(width, height), width / 2, height / 2)
    box = bounding_box(cover[..., 0] > 0.5)
    if box is None:
        brightest = round(float(cover.max()) * 255)
        dark = f": its brightest value is {brightest}, and 255 is expected" if mask is not None and brightest else ""
        key = "reference_mask" if mask is not None else "reference"
        raise BadInput(key, "<picture>", f"shows nothing{dark}", "mark the object in white")
    flat = np.rint(rgb * cover + 255 * (1 - cover)).astype(np.uint8)
    return _squared(flat, round(MARGIN * max(box.width, box.height)), (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)


def cut_out(reference: Any, mask: Any = None) -> Image.Image:
    """A reference as RGBA of its own size: its alpha is the mask's brightness, or else what it brings. Raises `BadInput`."""
    picture = read_image(_as_image(reference, "reference"), key="reference").rgba()
    if mask is not None:
        cover = np.asarray(read_image(_as_image(mask, "reference_mask"), key="reference_mask").pil().convert("L"))
        (height, width), sizes = picture.shape[:2], f"{cover.shape[1]}x{cover.shape[0]}"
        if cover.shape != (height, width):
            raise BadInput("reference_mask", sizes, f"is not as large as the reference, {width}x{height}", "give one size")
        picture[..., 3] = cover
    return Image.fromarray(picture)


def prepare_all(reference: Any, mask: Any, count: int) -> list[Image.Image] | None:
    """One prepared picture per image of a batch, or None without a reference; one reference (or mask) serves all images.

    Raises: `BadInput` when the counts differ, or a mask is given without a reference.
    """
    if reference is None:
        if mask is not None:
            raise BadInput("reference_mask", "<picture>", "is given without a reference", "give the picture that it belongs to")
        return None
    pictures, masks = (list(given) if isinstance(given, list | tuple) else [given] * count for given in (reference, mask))
    if not len(pictures) == len(masks) == count:
        raise BadInput("reference", f"{len(pictures)} pictures", f"with {len(masks)} masks do not fit {count} images", "give one per image")
    return [prepare(picture, cover) for picture, cover in zip(pictures, masks, strict=True)]


@torch.no_grad()
def encode(pipe: Any, pictures: Sequence[Image.Image]) -> Float[Tensor, "batch tokens dim"]:
    """Redux tokens of prepared pictures: SigLIP's patches, brought into the space of the text tokens."""
    if any(getattr(pipe, part, None) is None for part in PARTS):
        remedy = "load one with pipe.load_reference_encoder(FOLDER of FLUX.1-Redux), or use a model that was trained with one"
        raise BadInput("reference", "<picture>", "needs a reference encoder, which this model has not", remedy)
    pixels = pipe.feature_extractor(images=list(pictures), return_tensors="pt")["pixel_values"]
    encoder = pipe.image_encoder
    patches = encoder(pixels.to(execution_device(encoder), encoder.dtype)).last_hidden_state
    return pipe.image_embedder(patches.to(pipe.image_embedder.dtype)).image_embeds


def pool(tokens: Float[Tensor, "batch tokens dim"], num_tokens: Given[int | None]) -> Float[Tensor, "batch pooled dim"]:
    """Average the square grid of tokens to a coarser one of `num_tokens`: 729 to 81 averages blocks of 3 × 3.

    Raises: `BadInput` when it is not a square number from 1 to the number of tokens there are.
    """
    batch, available, dim = tokens.shape
    if num_tokens is None or num_tokens == available:
        return tokens
    side, wanted = math.isqrt(available), math.isqrt(max(num_tokens, 0)) if isinstance(num_tokens, int) else 0
    if side * side != available or not 1 <= wanted <= side or wanted * wanted != num_tokens:
        known = ", ".join(str((side // d) ** 2) for d in (1, 3, 9) if side >= d)
        raise BadInput("reference_tokens", num_tokens, f"is not a square number from 1 to {available}", f"for example {known}")
    grid = tokens.transpose(1, 2).reshape(batch, dim, side, side)
    return F.adaptive_avg_pool2d(grid, wanted).flatten(2).transpose(1, 2)


def load_encoder(pipe: Any, name: str | Path, dtype: str | torch.dtype | None = None, accept_flux_licence: bool = False) -> None:
    """Give `pipe` the reference encoder of a FLUX.1-Redux folder or hub id, or of a bundle of ours that carries one.

    Raises: `BadInput` when there is none, its licence was not accepted, or it was made for another backbone.
    """
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
    from transformers import SiglipImageProcessorPil, SiglipVisionModel

    from bfs_model.weight.flux_fill import load_part

    path = foreign.from_hub(str(name), foreign.REDUX, accept_flux_licence) if foreign.is_hub_id(name) else Path(name).expanduser()
    if foreign.layout(path) == foreign.REDUX:
        licence.check_flux(name, accept_flux_licence)
        foreign.check(path, foreign.REDUX)
        bound: str | None = licence.FLUX_LICENCE
    else:
        path = bundle.locate(name)
        bound = licence.checked(name, integrity.verify(path)["body"], accept_flux_licence)
        if not all((path / part).is_dir() for part in PARTS):
            raise BadInput("model", name, "holds no reference encoder", "give a FLUX.1-Redux folder or a bundle that carries one")
    precision = memory.as_dtype(dtype) or pipe.transformer.dtype
    classes = dict(zip(PARTS, (SiglipVisionModel, ReduxImageEncoder, SiglipImageProcessorPil), strict=True))
    parts = {part: load_part(path / part, part_class, precision) for part, part_class in classes.items()}
    made_for, dim = parts["image_embedder"].config.txt_in_features, pipe.transformer.config.joint_attention_dim
    if made_for != dim:
        raise BadInput("model", name, f"makes tokens of {made_for} numbers, this backbone reads {dim}", "use an encoder made for this base")
    device = pipe.device
    pipe.register_modules(**{name: part.to(device) if isinstance(part, torch.nn.Module) else part for name, part in parts.items()})
    pipe.licence = bound or pipe.licence
    if pipe.memory == "offload":
        memory.apply(pipe, "offload")


def _squared(rgb: np.ndarray, side: int, x: float, y: float) -> Image.Image:
    """A square of `side` pixels around (x, y); what lies outside the picture is white.

    Raises `BadInput` when that would be larger than any picture may be: a long strip of few pixels is on a square of very many.
    """
    if side * side > MAX_PIXELS:
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise BadInput("reference", size, f"would lie on a square of {side} pixels a side, which is too large", "scale it down")
    left, top = round(x - side / 2), round(y - side / 2)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(Image.fromarray(rgb), (-left, -top))
    return square


def _as_image(source: Any, key: str) -> Any:
    """Arrays become PIL images; everything else `read_image` knows."""
    if not isinstance(source, np.ndarray):
        return source
    return Image.fromarray(to_u8(checked_array(source, key=key)))
