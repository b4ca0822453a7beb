"""Prepared units between the stages of a Ray Data stream: raw pixels and plain JSON, one row each, never a pickle."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from bfs_platform.data.execute.draft import Prepared
from bfs_platform.data.plan.unit import Receipt
from bfs_platform.data.record import Record

_PLAIN = ("id", "caption", "mask_is_box", "whole_layer")
_PICTURES = ("composite", "background", "object_mask", "effect_mask", "foreground", "shadow_free")


def pack_prepared(prepared: Prepared) -> dict[str, Any]:
    """A unit as a batch of one row: `pixels` (the bytes of all pictures, one after the other) and `facts` (JSON)."""
    pieces: list[bytes] = []
    records = []
    for record in prepared.records:
        shapes = {}
        for name in _PICTURES:
            picture = getattr(record, name)
            if picture is not None:
                shapes[name] = picture.shape
                pieces.append(picture.tobytes())
        records.append({name: getattr(record, name) for name in _PLAIN} | {"shapes": shapes})
    facts = {"records": records, "receipt": asdict(prepared.receipt), "order": prepared.order}
    return {"pixels": [b"".join(pieces)], "facts": [json.dumps(facts, ensure_ascii=False)]}


def unpack_prepared(batch: dict[str, np.ndarray]) -> Prepared:
    """The inverse of `pack_prepared`."""
    facts = json.loads(str(batch["facts"][0]))
    pixels = np.frombuffer(batch["pixels"][0], np.uint8)
    position = 0
    records = []
    for known in facts["records"]:
        pictures: dict[str, Any] = {}
        for name, shape in known.pop("shapes").items():
            size = int(np.prod(shape))
            pictures[name] = pixels[position : position + size].reshape(shape)
            position += size
        records.append(Record(**known, **{"background": None} | pictures))
    return Prepared(tuple(records), Receipt(**facts["receipt"]), tuple(facts["order"]))
