"""The ledger of a build: what it finds out is what a list would, and the memory that it takes does not grow with the records."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.data.execute.build import build
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.plan.ledger import _TABLES, Dropped, Ledger, Units
from bfs_platform.data.plan.plan import make_plan
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.plan.unit_file import read_unit, write_units
from bfs_platform.data.record import Part, Reason, Row
from bfs_platform.data.source.base import Licence, Source
from bfs_platform.data.spec import DataSpec


def listing(root: Path, ids: Iterator[str]) -> Source:
    """A source that lists these ids; nobody reads its pictures."""

    def rows(_: Path) -> Iterator[Row]:
        for name in ids:
            yield Row(name, "a red cube", {role: Part(f"{role}/{name}.png") for role in ("composite", "background", "object_mask")})

    return Source("drawn", root, Licence("MIT", True), rows)


def receipt_of(unit: Unit) -> Receipt:
    """Every record kept; no two look alike, and few have the same box."""
    return Receipt(unit.shard, unit.key, None, [[row.id, [unit.shard, n, 3, 4], f"{unit.shard:016x}"] for n, row in enumerate(unit.rows)])


def test_units_are_read_again_as_they_were(tmp_path: Path, pixel_spec: DataSpec) -> None:
    """From the ledger by place and by slice, and from the file for the workers."""
    plan = make_plan(listing(tmp_path, iter("abcdefg")), pixel_spec, None)
    assert [[row.id for row in unit.rows] for unit in plan.units] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert [unit.shard for unit in plan.units[::-1]] == [2, 1, 0] and plan.num_records == 7
    path, places = write_units(Units(plan.ledger, [2, 0]), tmp_path)
    again = [read_unit(path, place["offset"], place["length"]) for place in places.to_pylist()]
    assert again == [plan.units[2], plan.units[0]]
    other, _ = write_units(Units(plan.ledger, [0]), tmp_path)
    assert other != path and write_units(Units(plan.ledger, [2, 0]), tmp_path)[0] == path


def test_an_id_is_used_once(tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A record that is listed again is set aside under a name of its own; one that only has a name which was used keeps its pictures."""
    rows = [row for unit in make_plan(listing(tmp_path, iter(["a", "a", "a#1", "b"])), pixel_spec, None).units for row in unit.rows]
    assert [row.id for row in rows] == ["a", "a#1", "a#1#2", "b"]
    assert [row.problem is None for row in rows] == [True, False, True, True]
    with pytest.raises(BadInput, match="lists no records"):
        make_plan(listing(tmp_path, iter([])), pixel_spec, None)


def test_copies_are_of_the_earliest_record_that_shows_the_same() -> None:
    """Within so many bits and in the same box, whatever the order in which the receipts came in."""
    ledger, box = Ledger(), [1, 2, 3, 4]
    ledger.add(Receipt(1, "k", None, [["c", box, f"{0b0011:016x}"], ["d", box, "f" * 16], ["e", [9, 9, 9, 9], f"{0:016x}"]]))
    missing = {"id": "x", "reason": "missing", "detail": "ä"}
    ledger.add(Receipt(0, "k", None, [["a", box, f"{0:016x}"], ["b", box, f"{0b0111:016x}"]], [missing]))
    ledger.find_copies(2)
    assert ledger.dropped(0) == {}
    assert ledger.dropped(1) == {"c": Dropped(Reason.DUPLICATE, "shows the same as a")}  # of b too, but a came first
    assert ledger.rejects == {"missing": 1, "duplicate": 1} and ledger.num_records == 6
    copy = {"id": "c", "reason": "duplicate", "detail": "shows the same as a"}
    assert [json.loads(line) for line in ledger.reject_lines()] == [missing, copy]
    assert [receipt.shard for receipt in ledger.receipts()] == [0, 1]


def test_no_copies_are_looked_for_where_none_count() -> None:
    """`duplicate_bits` of null."""
    ledger = Ledger()
    ledger.add(Receipt(0, "k", None, [["a", [1, 2, 3, 4], "0" * 16], ["b", [1, 2, 3, 4], "0" * 16]]))
    ledger.find_copies(None)
    assert ledger.dropped(0) == {} and not ledger.rejects


def test_no_room_for_the_list_is_said(tmp_path: Path, pixel_spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the remedy; nothing lies at the output."""
    monkeypatch.setattr("bfs_platform.data.plan.ledger._TABLES", f"{_TABLES}PRAGMA max_page_count = 12;")
    source = listing(tmp_path / "input", (f"{n:06d}" for n in range(2000)))
    with pytest.raises(BuildFailed, match="does not fit .*set TMPDIR"):
        build(source, tmp_path / "out", pixel_spec, stream=lambda units: [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["plan", "collect"])
def test_memory_does_not_grow_with_the_records(tmp_path: Path, step: str) -> None:
    """Eight times the records take less than ten bytes for each one more; as objects they would take thousands."""
    spec = DataSpec(stage=1, buckets=((32, 32),), records_per_shard=16)

    def peak(num_records: int) -> int:
        tracemalloc.start()
        try:
            plan: Any = make_plan(listing(tmp_path, (f"{n:06d}" for n in range(num_records))), spec, None)
            if step == "collect":
                write_units(plan.units, tmp_path)
                for unit in plan.units:
                    plan.ledger.add(receipt_of(unit))
                plan.ledger.find_copies(0)
                assert sum(1 for _ in plan.ledger.reject_lines()) == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # imports, caches
    few, many = (min(peak(number) for _ in range(3)) for number in (500, 4000))  # threads of other tests are measured as well
    assert many - few < 10 * 3500, f"{(many - few) / 3500:.0f} bytes per record"
