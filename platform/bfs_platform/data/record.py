"""What every source is turned into: a row that says where the bytes are, then a record that holds the pictures."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np


class Reason(StrEnum):
    """Why a record was set aside. The values are written to `rejects.jsonl` and counted in the manifest."""

    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    TOO_SLOW = "too_slow"
    DECODER_DIED = "decoder_died"
    WRONG_MODE = "wrong_mode"
    SIZE_MISMATCH = "size_mismatch"
    EMPTY_MASK = "empty_mask"
    MASK_MISSES_OBJECT = "mask_misses_object"
    BOX_COVERS_IMAGE = "box_covers_image"
    EMPTY_CAPTION = "empty_caption"
    NO_BACKGROUND = "no_background"
    NO_EFFECT_MASK = "no_effect_mask"
    MATTING_FAILED = "matting_failed"
    LAYER_MISFIT = "layer_misfit"
    LOW_SCORE = "low_score"
    LOW_QUALITY = "low_quality"
    HELD_OUT = "held_out"
    DUPLICATE = "duplicate"


class Reject(Exception):
    """One record cannot be used. It is counted and named; the build goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Part:
    """Where one picture's bytes lie: a file below the source's root, or a piece of a container.

    `container` is "file"; "tar" (`offset` and `size` in the archive, compressed or not); "parquet" (`row` and `column`); "mulan"
    (`row` is the instance, `column` the role and the picture); or "document" (`row` is the layer, `column` the role).
    `sha256` is known when the source came with a manifest, and is then checked on reading.
    """

    path: str
    container: str = "file"
    sha256: str | None = None
    offset: int = 0
    size: int = 0
    row: int = 0
    column: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that its bytes depend on: of MuLAn the photograph too."""
        return (self.path, self.column.partition(" ")[2]) if self.container == "mulan" else (self.path,)


@dataclass(frozen=True, slots=True)
class Row:
    """One record before its bytes are read: small, and the only thing that travels between processes.

    `parts` are named composite, background, object_mask, effect_mask, foreground or shadow_free. `problem` is set when the listing
    itself is faulty there: such a row becomes a reject. `same_aspect` allows parts of other sizes than the composite's, as long
    as they show the same frame. `mirrored` turns left into right in all of them, and in the box; `cropped` shows a window of them that
    the id decides. `whole_layer`: the foreground shows the object with its effects and lies over the background as it is; nothing is cut
    out, and no shadow is added.
    """

    id: str
    caption: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    score: float | None = None
    box: tuple[int, int, int, int] | None = None
    problem: str | None = None
    same_aspect: bool = False
    mirrored: bool = False
    cropped: bool = False
    whole_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, without what is not set."""
        # By identity where 0.0 would be equal: a score of 0 is set.
        known = {key: value for key, value in asdict(self).items() if value is not None and value is not False and value not in ("", {})}
        return known | {"parts": {name: _brief(part) for name, part in sorted(self.parts.items())}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Row":
        """The inverse of `to_json`."""
        fields = dict(value) | {"parts": {name: Part(**part) for name, part in value["parts"].items()}}
        if fields.get("box") is not None:
            fields["box"] = tuple(fields["box"])
        return cls(**fields)


@dataclass(slots=True)
class Record:
    """One record with its pictures, all of one size. uint8: images [H, W, 3], masks [H, W], RGBA [H, W, 4].

    `mask_is_box` says that `object_mask` is only the inside of a box so far; `whole_layer` that `foreground` holds the effects too.
    """

    id: str
    caption: str
    composite: np.ndarray
    background: np.ndarray | None
    object_mask: np.ndarray
    effect_mask: np.ndarray | None = None
    foreground: np.ndarray | None = None
    shadow_free: np.ndarray | None = None
    mask_is_box: bool = False
    whole_layer: bool = False


def seed_of(*key: object) -> int:
    """A 63-bit seed that depends on the texts of `key` alone: the same for a record whatever its place, process or time."""
    digest = hashlib.sha256("\x1f".join(str(k) for k in key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, keys sorted."""
    return hashlib.sha256(_canonical(value)).hexdigest()


class ListDigest:
    """`digest_of` a list that is never held as a whole."""

    def __init__(self) -> None:
        self._digest, self.length = hashlib.sha256(b"["), 0

    def add(self, values: Iterable[Any]) -> None:
        """Put `values` at the end of the list."""
        for value in values:
            self._digest.update((b", " if self.length else b"") + _canonical(value))
            self.length += 1

    def hexdigest(self) -> str:
        """The digest of the list so far."""
        digest = self._digest.copy()
        digest.update(b"]")
        return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def _brief(part: Part) -> dict[str, Any]:
    return {key: value for key, value in asdict(part).items() if value not in (None, "", 0) and (key, value) != ("container", "file")}
