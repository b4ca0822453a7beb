"""Plans for large builds from the figures of a small one."""

from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_model.integrity import write_manifest
from bfs_platform.data.plan.capacity import Hardware, as_text, count_of, measure, plan
from bfs_platform.data.plan.ledger import Ledger
from bfs_platform.data.plan.pace import Pace
from bfs_platform.data.plan.unit import Receipt

MEASURED = {"records": 100, "first_s": 5.0, "first_records": 10, "records_per_s": 20.0, "tail_s": 1.0, "cores": 4}


def small_build(folder: Path, **changes: Any) -> Path:
    """The manifest of a build of 100 records, ten of them rejected: 4 cores, 20 records per second, half a GPU for encoding."""
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "part-00000.parquet").write_bytes(b"x" * 50_000)
    notes: dict[str, Any] = {"measured": MEASURED, "stage_s": {"compose": 12.0, "encode": 4.0, "write": 0.5}}
    notes |= {"execution": {"gpus_per_encoder": 0.5, "models": {}}} | changes
    write_manifest(folder, "dataset", {"num_records": 90, "rejects": {"missing": 10}}, notes)
    return folder


def test_a_plan_by_hand(tmp_path: Path) -> None:
    """720,000 records at 0.2 core seconds and 0.02 GPU seconds each: 40 core hours, 4 GPU hours, 360 MB."""
    facts = plan(measure(small_build(tmp_path)), 720_000, Hardware(8, 1, 2.0, 0.1), nodes=2)
    assert facts["core_hours"] == pytest.approx(40) and facts["gpu_hours"] == pytest.approx(4)
    assert facts["wall_hours"] == pytest.approx(2.5, abs=0.01) and facts["node_hours"] == pytest.approx(5, abs=0.01)
    assert facts["compute_cost"] == pytest.approx(10, abs=0.01) and facts["storage_bytes"] == 360_000_000
    assert facts["storage_cost_per_month"] == pytest.approx(0.036) and facts["records_kept"] == 648_000
    assert facts["slowest_stage"] == "compose" and "40.0 core hours" in as_text(facts)
    assert facts["temporary_bytes"] == 216_000_000 and "0.22 GB on disk where the job runs" in as_text(facts)


def test_as_many_nodes_as_the_time_asks_for(tmp_path: Path) -> None:
    """Whatever is scarcer decides, cores or GPUs; the plan keeps to its hours."""
    measured = measure(small_build(tmp_path))
    assert plan(measured, 720_000, Hardware(8, 1), hours=1)["nodes"] == 6
    assert plan(measured, 720_000, Hardware(800, 1), hours=1)["nodes"] == 5
    assert plan(measured, 720_000, Hardware(8, 1), hours=1)["wall_hours"] <= 1
    with pytest.raises(BadInput, match="used GPUs"):
        plan(measured, 10, Hardware(8, 0))
    with pytest.raises(BadInput, match="to start and to end"):
        plan(measured, 10, Hardware(8, 1), hours=0.001)


def test_wall_time_on_other_cores(tmp_path: Path) -> None:
    """Start and tail stay, the steady part goes with the cores."""
    measured = measure(small_build(tmp_path))
    assert measured.wall_s(410, 4) == pytest.approx(5 + 400 / 20 + 1)
    assert measured.wall_s(410, 8) == pytest.approx(5 + 400 / 40 + 1)


@pytest.mark.parametrize("facts", [{}, MEASURED | {"records": 40}, None])
def test_figures_of_half_a_run_are_refused(tmp_path: Path, facts: dict[str, Any] | None) -> None:
    """A build that was resumed, or had too few shards, says nothing about a large one."""
    with pytest.raises(BadInput, match="one whole run"):
        measure(small_build(tmp_path, measured=facts))


def test_counts_as_people_write_them() -> None:
    """Plain and with a suffix; nonsense is refused."""
    assert [count_of(text) for text in ("250000", "250k", "100M", "1.5b")] == [250_000, 250_000, 100_000_000, 1_500_000_000]
    for text in ("", "many", "-3", "0", "5x"):
        with pytest.raises(BadInput, match="number of records"):
            count_of(text)


def test_pace_separates_start_steady_part_and_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units nearly together after 3 s, then one per second, the last one late: the rate is that of the middle."""
    clock = iter([0.0, 3.0, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 13.5, 15.0])
    monkeypatch.setattr("bfs_platform.data.plan.pace.time.monotonic", lambda: next(clock))
    ledger = Ledger()
    pace = Pace(ledger)
    for shard in range(10):
        ledger.add(Receipt(shard, "k", None, [["a", [], "0"], ["b", [], "0"]]))
        pace.step()
    facts = pace.facts()
    assert (facts["records"], facts["first_s"], facts["first_records"], facts["records_per_s"]) == (20, 3.5, 4, 2)
    assert facts["tail_s"] == 2 and facts["cores"] >= 1
    assert Pace(Ledger()).facts() == {}


def test_pace_of_units_of_very_different_sizes() -> None:
    """Nearly everything in the last unit: a rate is still told, from the two last ones."""
    pace = Pace(Ledger())
    pace.seen = [(1.0, 1), (2.0, 2), (3.0, 3), (13.0, 103)]
    assert pace.facts()["records_per_s"] == 10 and pace.facts()["tail_s"] == 0
