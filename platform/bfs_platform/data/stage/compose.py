"""One record through all pixel stages: stage 1 {F̂, B, M̂, Ĉ} and stage 2 {C, B, M, S} (paper §4)."""

from dataclasses import dataclass, field

import numpy as np

from bfs_model.network.shadow import ShadowProvider
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import composite_u8, pad_rgb
from bfs_platform.data.decode.isolated import ReadImage, reader_of
from bfs_platform.data.record import Record, Row, seed_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.background import BackgroundProvider, provider
from bfs_platform.data.stage.check import check_caption, check_difference, check_layer, check_score, difference_hash, loosened, object_box
from bfs_platform.data.stage.crop import cropped
from bfs_platform.data.stage.decode import Fetch, decode
from bfs_platform.data.stage.effects import with_own_effects
from bfs_platform.data.stage.fit import fit
from bfs_platform.data.stage.matting import Matting, matting
from bfs_platform.data.stage.measures import measures
from bfs_platform.data.stage.shadow import shadow


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished training record. uint8 pictures of one size; `foreground` RGBA with colours padded under alpha 0.

    `tight_box` (before loosening) and `hash` tell near-copies apart, `measures` the poor; they are not written to the shard.
    """

    id: str
    caption: str
    box: Box
    composite: np.ndarray
    background: np.ndarray
    foreground: np.ndarray
    object_mask: np.ndarray
    effect_mask: np.ndarray | None
    tight_box: Box
    hash: int
    measures: dict[str, float] = field(default_factory=dict)


class Composer:
    """The pixel stages of one recipe, with the providers it names. A pure function of (row, bytes, recipe)."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec
        self.read: ReadImage = reader_of(spec.execution.decoder)
        self.background: BackgroundProvider = provider(spec.background)
        self.matting: Matting = matting(spec.matting)
        self.shadow: ShadowProvider = shadow(spec.shadow)

    def __call__(self, row: Row, fetch: Fetch) -> Sample:
        """Make one sample. Raises `Reject`."""
        return self.finish(self.prepare(row, fetch))

    def prepare(self, row: Row, fetch: Fetch) -> Record:
        """The pictures of `row` at their bucket's size, ready for models that look at them. Raises `Reject`."""
        spec = self.spec
        check_score(row.score, spec.checks.min_score)
        if spec.caption.kind == "metadata" and row.problem is None:  # else the problem is what has to be said
            check_caption(row.caption, spec.default_caption)
        record = decode(row, fetch, spec.checks.max_pixels, self.read, box_as_mask=spec.mask.kind != "given")
        if row.cropped:
            record = cropped(record, spec.crops.smallest, seed_of(spec.seed, "crop", row.id))
        return fit(record, spec.buckets, spec.checks.max_upscale)

    def finish(self, record: Record) -> Sample:
        """A prepared record, with whatever models have added to it, as a sample. Raises `Reject`."""
        spec = self.spec
        caption = check_caption(record.caption, spec.default_caption)
        tight_box = object_box(record, spec.checks)
        background = self.background.background(record)
        check_difference(record, background, spec.checks)
        if record.whole_layer:
            check_layer(record, background, spec.layers.max_error)
        layer = self._layer(record)
        composite = record.composite
        if record.whole_layer:
            pass  # the object and its effects, as they are given
        elif spec.stage == 1 and spec.shadow.kind == "dataset":
            layer = with_own_effects(layer, record.composite, background, record.effect_mask)
        elif spec.stage == 1:
            layer = self.shadow.add_shadow(layer, seed_of(spec.seed, "shadow", record.id))
        foreground = quantised(layer)
        if spec.stage == 1:
            # Ĉ is made from what is stored, after rounding, so that F̂ over B gives it back exactly.
            composite = composite_u8(foreground, background)
        height, width = composite.shape[:2]
        return Sample(
            id=record.id,
            caption=caption,
            box=loosened(tight_box, spec.loosen_box, height, width, seed_of(spec.seed, "box", record.id)),
            composite=composite,
            background=background,
            foreground=foreground,
            object_mask=record.object_mask,
            effect_mask=record.effect_mask,
            tight_box=tight_box,
            hash=difference_hash(record.composite),
            measures=measures(record.composite, tight_box),
        )

    def _layer(self, record: Record) -> np.ndarray:
        """The object alone, float [H, W, 4]: the source's own layer where it has one, else cut out."""
        if record.foreground is not None:
            return record.foreground.astype(np.float32) / 255
        return self.matting.cut_out(record.composite, record.object_mask)


def quantised(layer: np.ndarray) -> np.ndarray:
    """Straight RGBA float [H, W, 4] → uint8, colours padded under what has become alpha 0."""
    return pad_rgb(np.rint(np.clip(layer, 0, 1) * 255).astype(np.uint8))
