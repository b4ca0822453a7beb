"""The records of an evaluation: listed once, hashed, and read where they are used."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box, bounding_box
from bfs_model.picture.images import read_image
from bfs_platform.console.screen import say
from bfs_platform.data.record import Part, Reason, Reject, Row, digest_of, seed_of
from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.source.rorem import META, read_meta
from bfs_platform.data.stage.decode import decode
from bfs_platform.data.stage.fit import resized

LIST_FORMAT = "bfs-evaluation-list/1"
SHIPPED_LISTS = Path(__file__).parent / "lists"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the list.

    `box` is None where it follows from the object's mask, and as it was written where it is no box; `groups` are values to group by;
    `edits` say what the edited scene looks like (`picture`), and how the layer changes (`tabletop.edits`).
    """

    row: Row
    box: Any = None
    groups: dict[str, str] = field(default_factory=dict)
    edits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def frozen(self) -> dict[str, Any]:
        """What is frozen of it: id, prompt, box and the sha256 of every picture (None where it cannot be read)."""
        hashes = {role: part.sha256 for role, part in sorted(self.row.parts.items())}
        known = {"id": self.row.id, "caption": self.row.caption, "box": self.box, "sha256": hashes}
        return known | ({"edits": self.edits} if self.edits else {})

    def to_json(self) -> str:
        """As text, for the journey to a worker."""
        return json.dumps({"row": self.row.to_json(), "box": self.box, "groups": self.groups, "edits": self.edits})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        value = json.loads(text)
        return cls(Row.from_json(value["row"]), _box_of(value["box"]), value["groups"], value["edits"])


@dataclass(frozen=True, slots=True)
class EditTruth:
    """What an edited scene looks like, uint8 [H, W, 3], and the same as a change of the layer (`tabletop.edits.Edit.facts`)."""

    picture: np.ndarray
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """A record with its pictures: `background` and `truth` uint8 [H, W, 3], masks bool [H, W], `effect` None if unknown."""

    id: str
    caption: str
    box: Box
    background: np.ndarray
    truth: np.ndarray
    object_mask: np.ndarray
    effect: np.ndarray | None
    edits: Mapping[str, EditTruth] = field(default_factory=dict)

    def seed(self, seed: int) -> int:
        """The noise seed of this record: it depends on the evaluation's seed and on the id alone."""
        return seed_of(seed, self.id)

    def region(self) -> np.ndarray:
        """Box ∪ effect region: where a layer may lie. Bool [H, W]."""
        region = self.box.mask(*self.object_mask.shape) > 0
        return region if self.effect is None else region | self.effect


def list_entries(
    root: Path, group_by: Sequence[str] = (), limit: int | None = None, num_records: int | None = None, seed: int = 0
) -> list[Entry]:
    """The first `limit` records of a folder in RORem's layout, with the hash of every picture.

    `num_records`: that many are drawn beforehand, in an order that depends on `seed` and the records' ids alone.
    Hashes come from the folder's manifest if it has one, else from the files. Raises `BadInput` when there is no list.
    """
    source = open_source("rorem", root)
    entries = []
    # Entries that are no pictures of people, such as `._a.png`, are none of the list.
    listed = [(meta, row) for meta, row in zip(read_meta(source.root / META), source.listed(), strict=True) if isinstance(row, Row)]
    if num_records is not None:
        listed = sorted(listed, key=lambda pair: seed_of("evaluation list", seed, pair[1].id))[:num_records]
    for meta, row in listed[:limit]:
        known = meta if isinstance(meta, dict) else {}
        groups = {key: str(known[key]) for key in group_by if key in known}
        entries.append(Entry(_hashed(row, root), _box_of(known.get("box")), groups, _edits_of(known, root)))
    repeated = len(entries) - len({entry.row.id for entry in entries})
    if repeated:
        raise BadInput("input", root, f"names {repeated} records twice", "ids must differ, since seeds depend on them")
    return entries


def list_hash(entries: Sequence[Entry]) -> str:
    """sha256 of the frozen list: equal for equal prompts, boxes and pictures in the same order."""
    return digest_of([entry.frozen() for entry in entries])


def frozen_list(entries: Sequence[Entry]) -> dict[str, Any]:
    """The list as it is written beside the figures."""
    return {"format": LIST_FORMAT, "hash": list_hash(entries), "entries": [entry.frozen() for entry in entries]}


def select(entries: Sequence[Entry], path: Path, source: dict[str, Any] | None = None) -> list[Entry]:
    """The entries of a frozen list: a shipped one by its name, or a file that an earlier evaluation wrote.

    A record that brings no caption gets the one that it has in the list, such as BLIP-2 wrote it for the evaluation before.
    `source`: what the input's manifest says of it. Pictures that another processor has rendered differ in their last bits: a
    list that says how its pictures were rendered takes the same rendering, and it is said how many of them differ.
    Raises `BadInput` unless pictures, prompts and boxes are exactly the same.
    """
    shipped = SHIPPED_LISTS / f"{path}.json"
    path = shipped if shipped.is_file() and not path.exists() else path
    try:
        frozen = json.loads(path.read_text(encoding="utf-8"))
        wanted = {str(entry["id"]): str(entry.get("caption", "")) for entry in frozen["entries"]}
        expected = frozen["hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput("list", path, f"is not a frozen evaluation list ({error})", "give the list.json of an evaluation") from None
    by_id = {entry.row.id: entry for entry in entries}
    missing = [name for name in wanted if name not in by_id]
    if missing:
        raise BadInput("list", path, f"names {len(missing)} records that the input lacks, first {missing[0]}", "give the same input")
    chosen = [_told(by_id[name], caption) for name, caption in wanted.items()]
    if list_hash(chosen) != expected and not _rendered_alike(frozen, chosen, source):
        raise BadInput("list", path, "was frozen over other pictures, prompts or boxes", "give the same input")
    return chosen


def _told(entry: Entry, caption: str) -> Entry:
    return entry if entry.row.caption.strip() else replace(entry, row=replace(entry.row, caption=caption))


def _rendered_alike(frozen: dict[str, Any], chosen: Sequence[Entry], source: dict[str, Any] | None) -> bool:
    """Whether these are the scenes of the list, rendered anew: the same request, names, prompts and boxes."""
    request = frozen.get("rendered")
    if not request or source is None or any(source.get(key) != value for key, value in request.items()):
        return False
    pairs = list(zip(frozen["entries"], json.loads(json.dumps([entry.frozen() for entry in chosen])), strict=True))
    if any(then.get(key) != now[key] for then, now in pairs for key in ("id", "caption", "box")):
        return False
    num_other = sum(then["sha256"] != now["sha256"] for then, now in pairs)
    say(f"{num_other} of {len(pairs)} records differ from the frozen ones in bits: another processor rendered them.")
    return True


def read_sample(entry: Entry, root: Path, max_pixels: int, short_side: int | None = None) -> Sample:
    """Read the pictures of an entry and scale them to `short_side`, if given.

    Raises `Reject` or `BadInput` for anything missing, damaged, unequal or empty.
    """
    record = decode(entry.row, lambda part: read_part(root, part), max_pixels)
    if record.background is None:
        raise Reject(Reason.NO_BACKGROUND, "an evaluation needs the true background")
    object_mask = record.object_mask > 127
    tight = bounding_box(object_mask)
    if tight is None:
        raise Reject(Reason.EMPTY_MASK, "the object's mask is empty")
    height, width = object_mask.shape
    box = (tight if entry.box is None else Box.of(entry.box)).within(width, height)
    effect = None if record.effect_mask is None else record.effect_mask > 127
    edits = {name: EditTruth(_picture(root, edit, max_pixels, object_mask.shape), edit) for name, edit in entry.edits.items()}
    sample = Sample(record.id, record.caption, box, record.background, record.composite, object_mask, effect, edits)
    return sample if short_side is None else _scaled(sample, short_side)


def _scaled(sample: Sample, short_side: int) -> Sample:
    """The sample with its short side at `short_side` pixels; its box grows to whole pixels."""
    height, width = sample.object_mask.shape
    factor = short_side / min(height, width)
    size = (round(width * factor), round(height * factor))

    def mask(region: np.ndarray) -> np.ndarray:
        return resized(region.astype(np.uint8) * 255, size) > 127

    x, y = size[0] / width, size[1] / height
    x0, y0, x1, y1 = sample.box
    box = Box(int(x0 * x), int(y0 * y), min(math.ceil(x1 * x), size[0]), min(math.ceil(y1 * y), size[1]))
    scaled_mask = mask(sample.object_mask)
    if not scaled_mask.any():
        raise Reject(Reason.EMPTY_MASK, f"the object's mask is empty at {size[0]}x{size[1]} pixels")
    return replace(
        sample,
        box=box,
        background=resized(sample.background, size),
        truth=resized(sample.truth, size),
        object_mask=scaled_mask,
        effect=None if sample.effect is None else mask(sample.effect),
        edits={name: replace(edit, picture=resized(edit.picture, size)) for name, edit in sample.edits.items()},
    )


def entry_facts(entries: Sequence[Entry]) -> dict[str, Any]:
    """The list in a result: its hash and its ids."""
    return {"hash": list_hash(entries), "ids": [entry.row.id for entry in entries]}


def _hashed(row: Row, root: Path) -> Row:
    """Fill in the hashes that no manifest gave. A file that cannot be read keeps none; reading it later says why."""
    parts = {role: part if part.sha256 else replace(part, sha256=_sha256(row, root, role)) for role, part in row.parts.items()}
    return replace(row, parts=parts)


def _sha256(row: Row, root: Path, role: str) -> str | None:
    return _hash_of(root, row.parts[role])


def _edits_of(meta: dict[str, Any], root: Path) -> dict[str, dict[str, Any]]:
    """What a record of the tabletop world says of its edits, with the hashes of their pictures. None of other sources."""
    edits = meta.get("edits") or {}
    return {name: edit | {"sha256": _hash_of(root, Part(str(edit["picture"])))} for name, edit in edits.items()}


def _hash_of(root: Path, part: Part) -> str | None:
    try:
        return hashlib.sha256(read_part(root, part)).hexdigest()
    except Reject:
        return None


def _picture(root: Path, edit: dict[str, Any], max_pixels: int, size: tuple[int, ...]) -> np.ndarray:
    """The picture of an edited scene. Raises `Reject` or `BadInput`."""
    picture = read_image(read_part(root, Part(edit["picture"], sha256=edit["sha256"])), key="edit", max_pixels=max_pixels).rgb
    if picture.shape[:2] != size:
        raise Reject(Reason.SIZE_MISMATCH, f"{edit['picture']} is {picture.shape[1]}x{picture.shape[0]}, the composite {size[1]}x{size[0]}")
    return picture


def _box_of(value: Any) -> Any:
    """The four numbers of a box; what is none stays as it is, so that its record is told to be at fault and no other."""
    if value is None:
        return None
    try:
        box = Box.of(value)
    except BadInput:
        return value
    return (box.x0, box.y0, box.x1, box.y1)
