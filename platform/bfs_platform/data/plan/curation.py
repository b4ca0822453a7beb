"""What a whole set leaves out: near-copies, what other sets show already, and the poorest by a measure. In memory is only what goes.

Decided when all shards are there, in listing order: of two alike the earlier stays, whatever was built first.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from bfs_platform.data.plan.ledger import Dropped, Ledger
from bfs_platform.data.record import Reason
from bfs_platform.data.spec import MEASURES, DataSpec

HASH_BITS = 64
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75)
_STRANGER = -1  # the shard of records of other sets: earlier than all
_ANY_BOX = "[]"


def curate(ledger: Ledger, spec: DataSpec, strangers: Iterable[tuple[str, int]] = ()) -> None:
    """Drop what the recipe does not want twice, or at all. `strangers`: name and difference hash of every record of other sets."""
    curation, bits = spec.curation, spec.checks.duplicate_bits
    if curation.apart_from or (bits is not None and curation.box_overlap < 1):
        _drop_alike(ledger, bits, curation.box_overlap, curation.apart_bits, strangers)
    else:
        ledger.find_copies(bits)
    measure(ledger)
    for name in MEASURES:
        bound = getattr(curation, name)
        if bound.min is not None:
            _drop_poor(ledger, f"{name} {{:.4g}} is below {bound.min:g}", name, bound.min)
        if bound.worst:
            _drop_poor(ledger, f"{name} {{:.4g}} is among the lowest {bound.worst:.1%} of the set", name, share=bound.worst)


def measure(ledger: Ledger) -> None:
    """Put the measures of all records that are kept into a table, by value."""
    ledger.db.execute("CREATE TABLE measured (name TEXT, value REAL, shard INTEGER, place INTEGER, id TEXT)")
    for receipt in ledger.receipts():
        dropped = ledger.dropped(receipt.shard)
        for name, values in receipt.measures.items():
            numbered = enumerate(zip(values, receipt.records, strict=True))
            kept = [(name, value, receipt.shard, n, record[0]) for n, (value, record) in numbered if record[0] not in dropped]
            ledger.db.executemany("INSERT INTO measured VALUES (?, ?, ?, ?, ?)", kept)
    ledger.db.execute("CREATE INDEX by_value ON measured (name, value, shard, place)")
    ledger.db.execute("CREATE INDEX by_place ON measured (shard, place)")


def quantiles(ledger: Ledger) -> dict[str, dict[str, float]]:
    """For each measure, the values below which 1, 5, 25, 50 and 75 % of the records lie that are kept."""
    found: dict[str, dict[str, float]] = {}
    for name in MEASURES:
        (count,) = ledger.db.execute("SELECT COUNT(*) FROM measured WHERE name = ?", (name,)).fetchone()
        if count:
            order = "SELECT value FROM measured WHERE name = ? ORDER BY value LIMIT 1 OFFSET ?"
            values = [ledger.db.execute(order, (name, int(share * (count - 1)))).fetchone()[0] for share in QUANTILES]
            found[name] = {f"{share:.0%}": value for share, value in zip(QUANTILES, values, strict=True)}
    return found


def _drop_poor(ledger: Ledger, detail: str, name: str, below: float | None = None, share: float = 0.0) -> None:
    """Drop the records whose measure is less than `below`, or that share of them that has the least."""
    if below is None:
        (count,) = ledger.db.execute("SELECT COUNT(*) FROM measured WHERE name = ?", (name,)).fetchone()
        query = "SELECT shard, place, id, value FROM measured WHERE name = ? ORDER BY value, shard, place LIMIT ?"
        poor = ledger.db.execute(query, (name, int(share * count))).fetchall()
    else:
        query = "SELECT shard, place, id, value FROM measured WHERE name = ? AND value < ? ORDER BY value, shard, place"
        poor = ledger.db.execute(query, (name, below)).fetchall()
    ledger.drop((shard, place, i, Dropped(Reason.LOW_QUALITY, detail.format(value))) for shard, place, i, value in poor)
    ledger.db.executemany("DELETE FROM measured WHERE shard = ? AND place = ?", ((shard, place) for shard, place, _, _ in poor))


def _drop_alike(ledger: Ledger, bits: int | None, overlap: float, apart_bits: int, strangers: Iterable[tuple[str, int]]) -> None:
    """Drop records whose hash is at most `bits` from an earlier kept one that shows its object in nearly the same place, or at most
    `apart_bits` from a stranger's, wherever that one's object is.

    Two numbers that differ in at most n bits agree in one of n + 1 pieces of them: only such pairs are looked at.
    """
    db = ledger.db
    num_bands = max(bits or 0, apart_bits) + 1
    db.execute("CREATE TABLE shown (band INTEGER, key BLOB, shard INTEGER, place INTEGER, hash BLOB, box TEXT, id TEXT)")
    insert = "INSERT INTO shown VALUES (?, ?, ?, ?, ?, ?, ?)"
    for number, (name, value) in enumerate(strangers):
        rest = (_STRANGER, number, value.to_bytes(8, "big"), _ANY_BOX, name)
        db.executemany(insert, ((band, key, *rest) for band, key in _bands(value, num_bands)))
    for receipt in ledger.receipts():
        for n, (record_id, box, text) in enumerate(receipt.records):
            rest = (receipt.shard, n, bytes.fromhex(text), json.dumps(box), record_id)
            db.executemany(insert, ((band, key, *rest) for band, key in _bands(int(text, 16), num_bands)))
    db.execute("CREATE TABLE pairs (shard INTEGER, place INTEGER, id TEXT, before_shard INTEGER, before_place INTEGER, before TEXT)")
    columns = "band, key, shard, place, hash, box, id"
    with closing(db.execute(f"SELECT {columns} FROM shown ORDER BY band, key, shard, place")) as rows:
        for _, alike in groupby(rows, key=itemgetter(0, 1)):
            found = _pairs([row[2:] for row in alike], -1 if bits is None else bits, overlap, apart_bits)
            db.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?)", found)
    order = "SELECT DISTINCT * FROM pairs ORDER BY shard, place, before_shard, before_place"
    gone: set[tuple[int, int]] = set()
    with closing(db.execute(order)) as ordered:
        for (shard, place, record_id), pairs in groupby(ordered, key=itemgetter(0, 1, 2)):
            before = next((pair for pair in pairs if (pair[3], pair[4]) not in gone), None)
            if before is not None:
                gone.add((shard, place))
                reason = Reason.HELD_OUT if before[3] == _STRANGER else Reason.DUPLICATE
                ledger.drop([(shard, place, record_id, Dropped(reason, f"shows the same as {before[5]}"))])
    db.executescript("DROP TABLE shown; DROP TABLE pairs;")


def _bands(value: int, number: int) -> Iterator[tuple[int, bytes]]:
    """The 64 bits of a hash in so many pieces: the number of each, and its bits."""
    edges = [HASH_BITS * band // number for band in range(number + 1)]
    for band, (low, high) in enumerate(pairwise(edges)):
        yield band, (value >> low & ((1 << high - low) - 1)).to_bytes(8, "big")


def _pairs(rows: list[tuple[Any, ...]], bits: int, overlap: float, apart_bits: int) -> Iterator[tuple[Any, ...]]:
    """Each record of a band with the earlier ones that it repeats: rows of (shard, place, hash, box, id), in listing order."""
    if len(rows) < 2 or rows[-1][0] == _STRANGER:
        return
    hashes = np.array([int.from_bytes(row[2], "big") for row in rows], np.uint64)
    strange = np.array([row[0] == _STRANGER for row in rows])
    boxes = np.array([json.loads(row[3]) or [0, 0, 0, 0] for row in rows], np.int64)
    for later in range(max(1, int(strange.sum())), len(rows)):
        apart = np.bitwise_count(hashes[:later] ^ hashes[later])
        same = np.where(strange[:later], apart <= apart_bits, (apart <= bits) & (_overlap(boxes[:later], boxes[later]) >= overlap))
        shard, place, _, _, record_id = rows[later]
        for earlier in np.flatnonzero(same):
            yield shard, place, record_id, rows[earlier][0], rows[earlier][1], rows[earlier][4]


def _overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] with one [4]."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared
    return np.asarray(shared / np.maximum(areas, 1))
