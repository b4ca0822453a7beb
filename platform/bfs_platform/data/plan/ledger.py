"""What a build knows of its units, in a database on disk: as little memory for a hundred million records as for a thousand.

The database is SQLite's private kind: a file without a name, which the system removes with the process, however that ends. A killed
build plans again; what it has made is found by the receipts in its workspace.
"""

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import overload

from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.record import Reason

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -16384;
CREATE TABLE ids (id TEXT PRIMARY KEY, shown INTEGER) WITHOUT ROWID;
CREATE TABLE units (shard INTEGER PRIMARY KEY, unit BLOB);
CREATE TABLE receipts (shard INTEGER PRIMARY KEY, receipt BLOB);
CREATE TABLE dropped (shard INTEGER, place INTEGER, id TEXT, reason TEXT, detail TEXT, PRIMARY KEY (shard, place)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a record that was built is left out of the set."""

    reason: Reason
    detail: str


class Ledger:
    """Ids, units, receipts, and what is left out of one build; `rejects` by reason, `num_records` kept or rejected, `seconds` by stage,
    `num_skipped` files of no one, `unread` captions by the encoder that did not read them whole."""

    def __init__(self) -> None:
        self.db = sqlite3.connect("", isolation_level=None)
        self.db.executescript(_TABLES)
        self.rejects: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self.num_units = self.num_receipts = self.num_records = self.num_skipped = 0
        self.first_skipped = ""

    @property
    def num_bytes(self) -> int:
        """Size of the database, of which little is in memory."""
        pages, size = (self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * size)

    def is_new(self, record_id: str, shown: int = 0) -> bool:
        """Whether no record had this id so far; one has now, which shows what the 63 bits of `shown` stand for."""
        return self.db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (record_id, shown)).rowcount == 1

    def shown(self, record_id: str) -> int:
        """What the record with this id shows."""
        return int(self.db.execute("SELECT shown FROM ids WHERE id = ?", (record_id,)).fetchone()[0])

    def note_skipped(self, path: str) -> None:
        """Count a file that the source's listing passed over."""
        self.first_skipped = self.first_skipped or path
        self.num_skipped += 1

    def add_unit(self, unit: Unit) -> None:
        """Note one more unit; they come in the order of their shards, from 0."""
        assert unit.shard == self.num_units, "units come in order"
        self.db.execute("INSERT INTO units VALUES (?, ?)", (unit.shard, unit.to_bytes()))
        self.num_units += 1

    def unit(self, shard: int) -> Unit:
        """The unit of a shard."""
        return Unit.from_bytes(self.db.execute("SELECT unit FROM units WHERE shard = ?", (shard,)).fetchone()[0])

    def add(self, receipt: Receipt) -> None:
        """Note what became of a unit."""
        packed = zlib.compress(receipt.to_json().encode(), 1)
        self.db.execute("INSERT INTO receipts VALUES (?, ?)", (receipt.shard, packed))
        self.num_receipts += 1
        self.num_records += len(receipt.records) + len(receipt.rejects)
        self.rejects.update(reject["reason"] for reject in receipt.rejects)
        self.seconds.update(receipt.seconds)
        self.unread.update(receipt.unread)

    def receipts(self) -> Iterator[Receipt]:
        """All receipts, in the order of their shards."""
        with closing(self.db.execute("SELECT receipt FROM receipts ORDER BY shard")) as found:
            for (packed,) in found:
                yield Receipt.from_json(zlib.decompress(packed))

    def find_copies(self, max_bits: int | None) -> None:
        """Find records that repeat an earlier one, and count them as rejects.

        A copy shows the same object box and a difference hash at most `max_bits` of 64 bits away. Another object in the same
        picture is no copy.
        """
        if max_bits is None:
            return
        self.db.execute("CREATE TABLE shown (box TEXT, shard INTEGER, place INTEGER, hash BLOB, id TEXT)")
        for receipt in self.receipts():
            rows = [(json.dumps(box), receipt.shard, n, bytes.fromhex(text), i) for n, (i, box, text) in enumerate(receipt.records)]
            self.db.executemany("INSERT INTO shown VALUES (?, ?, ?, ?, ?)", rows)
        with closing(self.db.execute("SELECT box, shard, place, hash, id FROM shown ORDER BY box, shard, place")) as found:
            for shard, place, record_id, earlier in _copies(found, max_bits):
                self.drop([(shard, place, record_id, Dropped(Reason.DUPLICATE, f"shows the same as {earlier}"))])
        self.db.execute("DROP TABLE shown")

    def drop(self, records: Iterable[tuple[int, int, str, Dropped]]) -> None:
        """Leave records out, each given by its shard, its place there and its id, and count them as rejects."""
        for shard, place, record_id, why in records:
            self.db.execute("INSERT INTO dropped VALUES (?, ?, ?, ?, ?)", (shard, place, record_id, str(why.reason), why.detail))
            self.rejects[str(why.reason)] += 1

    def dropped(self, shard: int) -> dict[str, Dropped]:
        """Ids of a shard's records that are left out, in their order, and why."""
        rows = self.db.execute("SELECT id, reason, detail FROM dropped WHERE shard = ? ORDER BY place", (shard,))
        return {record_id: Dropped(Reason(reason), detail) for record_id, reason, detail in rows}

    def reject_lines(self) -> Iterator[bytes]:
        """Every reject as a line of JSON (id, reason, detail), in listing order of the shards, what was left out last."""
        for receipt in self.receipts():
            dropped = self.dropped(receipt.shard).items()
            for reject in [*receipt.rejects, *({"id": i, "reason": str(w.reason), "detail": w.detail} for i, w in dropped)]:
                yield (json.dumps(reject, ensure_ascii=False, sort_keys=True) + "\n").encode()


class Units(Sequence[Unit]):
    """Units of a ledger, those of the given shards: each is read from disk when it is asked for."""

    def __init__(self, ledger: Ledger, shards: Sequence[int]) -> None:
        self._ledger, self._shards = ledger, shards

    def __len__(self) -> int:
        return len(self._shards)

    @overload
    def __getitem__(self, index: int) -> Unit: ...
    @overload
    def __getitem__(self, index: slice) -> "Units": ...
    def __getitem__(self, index: int | slice) -> "Unit | Units":
        if isinstance(index, slice):
            return Units(self._ledger, self._shards[index])
        return self._ledger.unit(self._shards[index])


def _copies(shown: Iterable[tuple[str, int, int, bytes, str]], max_bits: int) -> Iterator[tuple[int, int, str, str]]:
    """Shard, place and id of every copy, and the earlier id, out of records sorted by box, shard and place."""
    current: str | None = None
    kept: list[tuple[int, str]] = []
    for box, shard, place, digest, record_id in shown:
        if box != current:
            current, kept = box, []
        value = int.from_bytes(digest, "big")
        match = next((other for known, other in kept if (known ^ value).bit_count() <= max_bits), None)
        if match is None:
            kept.append((value, record_id))
        else:
            yield shard, place, record_id, match
