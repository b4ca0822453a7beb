"""An object and its effects as two layers: a shadow or a reflection can then be moved, faded or repainted alone.

No weights are needed. What is nearly opaque and not shadow-coloured, inside the box and in one piece, is the object
(thresholds with hysteresis). At its edge the layer is matted: a pixel is object over effects, with colours that are carried
over from either side, so its share of object follows by least squares. The effects are what remains, by the exact inverse of
the over operator: effects, then object, over any background give the picture that the whole layer gives.
"""

import dataclasses

import numpy as np

from bfs_model.document.layer import NAME_LENGTH, Layer, cropped
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import pad_rgb

WORK_SIDE = 256  # regions are told apart at most this large; the pixels themselves are never resampled
STRONG, WEAK = 0.9, 0.55  # of the layer's own peak alpha: an object begins at one and is followed down to the other
DARK = 0.2  # brightest channel; darker and not opaque is shadow
BLACK = 0.09  # darker still is the shadow of contact, opaque or not, unless the object itself is that dark
BOX_MARGIN = 0.06  # of its longer side: objects are drawn a little beyond their box
MIN_PIECE = 0.05  # of the largest piece: smaller ones are specks
_LEVEL = 1 / 255


def split_layer(layer: Layer) -> tuple[Layer, Layer]:
    """(effects, object), each cropped to what it shows, in a group of the layer's name; opacity is worked into the pixels.

    Raises: `BadInput` for a background, a layer that is a part already, and blend modes other than normal, in which two
    layers cannot stand for one.
    """
    stem = NAME_LENGTH - len(" (effects)")
    cure = "leave it whole"
    if layer.role == "background" or layer.part is not None:
        what = "is a background" if layer.part is None else f"holds {layer.part} alone"
        raise BadInput("split_effects", layer.name, f"{what} and has no object and effects to tell apart", cure)
    if layer.blend_mode != "normal":
        what = f"blends in mode {layer.blend_mode}, which two layers cannot imitate"
        raise BadInput("split_effects", layer.name, what, f"{cure}, or use normal")
    rgba = layer.rgba.copy()
    rgba[..., 3] = np.rint(rgba[..., 3] * np.float32(layer.opacity))
    box = None if layer.box is None else layer.box.shifted(-layer.x, -layer.y)
    group = layer.name if layer.group is None else f"{layer.group} / {layer.name}"
    made = []
    for part, pixels in zip(("effects", "object"), split(rgba, box), strict=True):
        pixels, x, y = cropped(pixels, layer.x, layer.y, layer.box)
        name, key = f"{layer.name[:stem]} ({part})", f"{layer.id[:stem]}-{part}"
        made.append(dataclasses.replace(layer, rgba=pixels, x=x, y=y, name=name, id=key, opacity=1.0, group=group, part=part))
    return made[0], made[1]


def split(rgba: np.ndarray, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Split a layer, uint8 [h, w, 4] straight, into (effects, object) of the same kind; `box` in its pixels, if known.

    Effects below object flatten to the layer within one level over every background. A pixel that belongs to one side alone
    keeps its bytes.
    """
    scale = -(-max(rgba.shape[:2]) // WORK_SIDE)
    small = _downsampled(rgba, scale)
    core = _core(small, None if box is None else _allowed(box, scale, small.shape[0], small.shape[1]))
    inside, outside = ~_dilated(~core), ~_dilated(core)
    whole, none = (_upsampled(mask, scale, rgba) for mask in (inside, outside))
    thing, effects = (np.where(mask[..., None], rgba, np.uint8(0)) for mask in (whole, none))
    edge = ~whole & ~none & (rgba[..., 3] > 0)
    if edge.any():
        rows, columns = np.nonzero(edge)
        near = _extrapolated(small, core & inside if inside.any() else core), _extrapolated(small, outside)
        object_colour, effect = (values[rows // scale, columns // scale] for values in near)
        thing[edge], effects[edge] = _unmixed(rgba[edge], object_colour, effect)
    return effects, thing


# The region of the object


def _core(small: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Bool [h, w]: the object without its soft edge. `small` is premultiplied float RGBA."""
    alpha = small[..., 3] if allowed is None else np.where(allowed, small[..., 3], 0)
    peak = float(alpha.max(initial=0))
    if peak < 2 * _LEVEL:
        return np.zeros(alpha.shape, bool)
    brightness = small[..., :3].max(axis=-1) / np.maximum(small[..., 3], _LEVEL)
    strong, possible = alpha >= STRONG * peak, alpha >= WEAK * peak
    weak = strong | (possible & (brightness > DARK))
    if np.median(brightness[strong]) > DARK:
        weak &= brightness > BLACK
    core = _large_components(_flooded(strong & weak, weak))
    # Dark spots of the object itself lie inside it; a real hole shows little alpha and stays one.
    return core | (possible & ~_flooded(_border(core.shape) & ~core, ~core))


def _large_components(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask, and further ones that are not much smaller."""
    names = _pieces(mask)
    sizes = np.bincount(names.ravel(), minlength=mask.size + 1)
    sizes[0] = 0
    return np.asarray(sizes[names] >= max(MIN_PIECE * sizes.max(), 1))


def _pieces(mask: np.ndarray) -> np.ndarray:
    """int [h, w]: a number for each connected piece of a mask, 0 outside."""
    names = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # the largest number of a piece spreads over it: to neighbours, and to all that bear a neighbour's former number
        spread = np.where(mask, _maximum_filter(names), 0)
        if np.array_equal(spread, names):
            return names
        largest = np.arange(mask.size + 1)
        np.maximum.at(largest, names.ravel(), spread.ravel())
        while not np.array_equal(further := largest[largest], largest):
            largest = further
        names = largest[spread]


def _maximum_filter(values: np.ndarray) -> np.ndarray:
    """The largest value among each pixel and its four neighbours."""
    out = values.copy()
    for to, of in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:]), (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :-1], np.s_[:, 1:])):
        out[to] = np.maximum(out[to], values[of])
    return out


def _flooded(seed: np.ndarray, within: np.ndarray) -> np.ndarray:
    """What can be reached from `seed` through neighbours inside `within`."""
    names = _pieces(within)
    holds_seed = np.zeros(within.size + 1, bool)
    holds_seed[names[seed & within]] = True
    return np.asarray(holds_seed[names] & within)


def _dilated(mask: np.ndarray) -> np.ndarray:
    """A mask and the four neighbours of its pixels."""
    return _maximum_filter(mask)


def _border(shape: tuple[int, ...]) -> np.ndarray:
    frame = np.ones(shape, bool)
    frame[1:-1, 1:-1] = False
    return frame


def _allowed(box: Box, scale: int, height: int, width: int) -> np.ndarray:
    """The box with its margin, in work pixels."""
    margin = max(round(BOX_MARGIN * max(box.width, box.height)), 1)
    x0, y0, x1, y1 = box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin
    out = np.zeros((height, width), bool)
    out[max(y0 // scale, 0) : max(-(-y1 // scale), 0), max(x0 // scale, 0) : max(-(-x1 // scale), 0)] = True
    return out


# Its edge


def _unmixed(pixels: np.ndarray, object_colour: np.ndarray, effect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edge pixels as object over effects: uint8 [n, 4] -> the two, uint8 [n, 4].

    Premultiplied, a pixel is o·(F, 1) + (1 − o)·E, linear in the share o of the object: F is the object's colour nearby
    (straight, `object_colour` [n, 4] premultiplied), E the effect nearby (`effect` [n, 4] premultiplied).
    """
    alpha = pixels[:, 3:4] / np.float32(255)
    seen = np.concatenate([pixels[:, :3] / np.float32(255) * alpha, alpha], axis=1)
    colour = object_colour / np.maximum(object_colour[:, 3:4], _LEVEL)
    towards = colour - effect
    share = ((seen - effect) * towards).sum(axis=1, keepdims=True) / np.maximum((towards**2).sum(axis=1, keepdims=True), 1e-6)
    share = np.floor(np.clip(share, 0, alpha) * 255 + 1e-3) / 255
    share = np.where(alpha - share < 1.5 * _LEVEL, alpha, share)  # no effect of a single level under an object
    object_rgb = _feasible(colour[:, :3] * share, seen[:, :3], alpha, share)
    rest = np.maximum(1 - share, _LEVEL)
    effect_alpha = np.clip(np.rint((alpha - share) / rest * 255), 0, 255) / 255
    effect_rgb = (seen[:, :3] - object_rgb * share) / rest
    effect_rgb = np.divide(effect_rgb, effect_alpha, out=np.zeros_like(effect_rgb), where=effect_alpha > 0)
    thing = np.concatenate([np.rint(object_rgb * 255), np.rint(share * 255)], axis=1)
    effects = np.concatenate([np.rint(np.clip(effect_rgb, 0, 1) * 255), effect_alpha * 255], axis=1).round()
    untouched = (share == 0), (share == alpha)  # all effects, all object: the pixel itself
    effects = np.where(untouched[0], pixels, np.where(untouched[1], 0, effects))
    thing = np.where(untouched[1] & ~untouched[0], pixels, np.where(untouched[0], 0, thing))
    return thing.astype(np.uint8), effects.astype(np.uint8)


def _feasible(wanted: np.ndarray, seen: np.ndarray, alpha: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The straight colour, in whole levels, nearest to `wanted` (premultiplied) that leaves the effects a colour in [0, 1].

    The rest must lie between nothing and its alpha: seen − (alpha − share) ≤ object ≤ seen. Some whole level always does:
    the range reaches 0 or 255, or is wider than a level.
    """
    safe = np.maximum(share, _LEVEL)
    low = np.ceil(np.clip((seen - (alpha - share)) / safe, 0, 1) * 255 - 1e-3)
    high = np.floor(np.clip(seen / safe, 0, 1) * 255 + 1e-3)
    return np.asarray(np.clip(np.rint(wanted / safe * 255), low, np.maximum(low, high)) / 255)


def _extrapolated(small: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Premultiplied float RGBA [h, w, 4], carried from the `known` pixels to all others."""
    weight = known.astype(np.float32)[..., None]
    if not known.any():
        return np.zeros_like(small)
    colours = pad_rgb(np.concatenate([small[..., :3], weight], axis=-1))[..., :3]
    alpha = pad_rgb(np.concatenate([np.repeat(small[..., 3:4], 3, axis=-1), weight], axis=-1))[..., :1]
    return np.concatenate([colours, alpha], axis=-1)


# Sizes


def _downsampled(rgba: np.ndarray, scale: int) -> np.ndarray:
    """Premultiplied float RGBA, averaged over cells of `scale` × `scale` pixels, row by row of cells."""
    height, width = -(-rgba.shape[0] // scale), -(-rgba.shape[1] // scale)
    out = np.zeros((height, width, 4), np.float32)
    for row in range(height):
        band = rgba[row * scale : (row + 1) * scale].astype(np.float32) / 255
        band[..., :3] *= band[..., 3:4]
        padded = np.pad(band.mean(axis=0), ((0, width * scale - rgba.shape[1]), (0, 0)), mode="edge")
        out[row] = padded.reshape(width, scale, 4).mean(axis=1)
    return out


def _upsampled(mask: np.ndarray, scale: int, like: np.ndarray) -> np.ndarray:
    return np.repeat(np.repeat(mask, scale, axis=0), scale, axis=1)[: like.shape[0], : like.shape[1]]
