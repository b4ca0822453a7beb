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
from typing import overload

from bfs_platform.data.record import Reason
from bfs_platform.data.unit import Receipt, Unit

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -16384;
CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE units (shard INTEGER PRIMARY KEY, unit BLOB);
CREATE TABLE receipts (shard INTEGER PRIMARY KEY, receipt BLOB);
CREATE TABLE copies (shard INTEGER, place INTEGER, id TEXT, earlier TEXT, PRIMARY KEY (shard, place)) WITHOUT ROWID;
"""


class Ledger:
    """Ids, units, receipts and near-copies of one build; `rejects` by reason, `num_records` kept or rejected, `seconds` by stage."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_TABLES)
        self.rejects: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.num_units = self.num_receipts = self.num_records = 0

    @property
    def num_bytes(self) -> int:
        """Size of the database, of which little is in memory."""
        pages, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * size)

    def is_new(self, record_id: str) -> bool:
        """Whether no record had this id so far; it has one now."""
        return self._db.execute("INSERT OR IGNORE INTO ids VALUES (?)", (record_id,)).rowcount == 1

    def add_unit(self, unit: Unit) -> None:
        """Note one more unit; they come in the order of their shards, from 0."""
        assert unit.shard == self.num_units, "units come in order"
        self._db.execute("INSERT INTO units VALUES (?, ?)", (unit.shard, unit.to_bytes()))
        self.num_units += 1

    def unit(self, shard: int) -> Unit:
        """The unit of a shard."""
        return Unit.from_bytes(self._db.execute("SELECT unit FROM units WHERE shard = ?", (shard,)).fetchone()[0])

    def add(self, receipt: Receipt) -> None:
        """Note what became of a unit."""
        packed = zlib.compress(receipt.to_json().encode(), 1)
        self._db.execute("INSERT INTO receipts VALUES (?, ?)", (receipt.shard, packed))
        self.num_receipts += 1
        self.num_records += len(receipt.records) + len(receipt.rejects)
        self.rejects.update(reject["reason"] for reject in receipt.rejects)
        self.seconds.update(receipt.seconds)

    def receipts(self) -> Iterator[Receipt]:
        """All receipts, in the order of their shards."""
        with closing(self._db.execute("SELECT receipt FROM receipts ORDER BY shard")) as found:
            for (packed,) in found:
                yield Receipt.from_json(zlib.decompress(packed))

    def find_copies(self, max_bits: int | None) -> None:
        """Find records that repeat an earlier one, and count them as rejects.

        A copy shows the same object box and a difference hash at most `max_bits` of 64 bits away. Another object in the same
        picture is no copy.
        """
        if max_bits is None:
            return
        self._db.execute("CREATE TABLE shown (box TEXT, shard INTEGER, place INTEGER, hash BLOB, id TEXT)")
        for receipt in self.receipts():
            rows = [(json.dumps(box), receipt.shard, n, bytes.fromhex(text), i) for n, (i, box, text) in enumerate(receipt.records)]
            self._db.executemany("INSERT INTO shown VALUES (?, ?, ?, ?, ?)", rows)
        with closing(self._db.execute("SELECT box, shard, place, hash, id FROM shown ORDER BY box, shard, place")) as found:
            for shard, place, record_id, earlier in _copies(found, max_bits):
                self._db.execute("INSERT INTO copies VALUES (?, ?, ?, ?)", (shard, place, record_id, earlier))
                self.rejects[str(Reason.DUPLICATE)] += 1
        self._db.execute("DROP TABLE shown")

    def copies(self, shard: int) -> dict[str, str]:
        """Ids of a shard's records that repeat an earlier one → the earlier id."""
        return dict(self._db.execute("SELECT id, earlier FROM copies WHERE shard = ? ORDER BY place", (shard,)))

    def reject_lines(self) -> Iterator[bytes]:
        """Every reject as a line of JSON (id, reason, detail), in listing order of the shards, near-copies after the rejects of theirs."""
        for receipt in self.receipts():
            copies = self.copies(receipt.shard).items()
            doubles = [{"id": i, "reason": str(Reason.DUPLICATE), "detail": f"shows the same as {earlier}"} for i, earlier in copies]
            for reject in [*receipt.rejects, *doubles]:
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
