"""`bfs capacity`: what it answers, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from bfs_model.errors import BadInput
from bfs_platform.capacity.plan import changes, draw_seconds, make_plan
from bfs_platform.cli.main import app
from bfs_platform.data.plan.capacity import Hardware, Measured, plan
from bfs_platform.train.plan.machines import machine

RATE = ["capacity", "--requests-per-second", "200", "--p95", "8s", "--gpu", "H200"]


def test_what_a_rate_takes() -> None:
    """200 a second within eight seconds: samplers, cost and the database are those of the numbers, and so is what has to change."""
    answer = json.loads(CliRunner().invoke(app, [*RATE, "--draw-seconds", "3", "--price", "4", "--json"]).stdout)
    assert answer["samplers"] == 667 and answer["p95_s"] <= 8 and answer["utilisation"] <= 0.9, "a tenth of their time to spare"
    assert answer["cost_per_hour"] == 4 * answer["samplers"]
    assert answer["cost_per_thousand"] == pytest.approx(1000 * answer["cost_per_hour"] / (200 * 3600))
    assert answer["pictures_per_day"] == 200 * 86400
    assert answer["max_queued"] == (8 - 3) * answer["samplers"] // 3
    assert {word for note in answer["changes"] for word in ("PostgreSQL", "several clusters") if word in note} == {
        "PostgreSQL",
        "several clusters",
    }


def test_the_seconds_are_those_of_the_arithmetic() -> None:
    """Published stacks draw BFS' work, 28 steps at 512 pixels, in 2.2 to 2.7 s at 480 to 580 TFLOP/s: ours sustains 400."""
    assert 2.7 < draw_seconds(machine("H200"), 512, 28) < 3.8
    assert draw_seconds(machine("H200"), 1024, 28) > 3.5 * draw_seconds(machine("H200"), 512, 28)


def test_a_time_that_no_number_reaches_is_refused() -> None:
    """One line with the seconds of one drawing, exit code 2."""
    done = CliRunner().invoke(app, [*RATE[:4], "500ms"])
    assert done.exit_code == 2 and "is less than the" in done.stderr and done.stderr.count("\n") == 1
    assert CliRunner().invoke(app, [*RATE[:4], "soon"]).exit_code == 2


def test_a_rate_beyond_all_plans_is_told_as_such() -> None:
    """It is not the drawing that is too slow."""
    with pytest.raises(BadInput, match=r"requests-per-second=1e\+06 needs more than the [0-9,]+ samplers"):
        make_plan(1e6, 60.0, 5.0, 3.0, 0.1)


def test_a_small_service_needs_nothing_special() -> None:
    """One sampler on one machine: a file will do."""
    assert changes(make_plan(0.1, 8.0, 2.0, 4.0, 0.1)) == []


def test_a_billion_records_change_what_a_million_do_not() -> None:
    """The disk that `bfs data plan` tells, a manifest that can be read, and that command for the rest."""
    few, many = ([*RATE, "--draw-seconds", "3", "--json", "--records", count] for count in ("1M", "1B"))
    small, large = (json.loads(CliRunner().invoke(app, command).stdout) for command in (few, many))
    added = large["changes"][len(small["changes"]) :]
    assert (small["records"], large["records"]) == (10**6, 10**9) and large["changes"][: len(small["changes"])] == small["changes"]
    measured = Measured(320, 2, 1.0, 0.0, 1, 0.0, {"write": 1.0}, 0.0, 1e5, 0.0)
    told = plan(measured, 10**9, Hardware())["temporary_bytes"]
    assert added[0].startswith(f"{told / 1e9:,.0f} GB of disk where the build's job runs")
    assert "15,625,000 shards of 64 records are 2.3 GB" in added[1] and added[1].endswith("records_per_shard=1000")
    assert "bfs data plan" in added[2] and len(added) == 3
    alone = json.loads(CliRunner().invoke(app, [*RATE, "--draw-seconds", "3", "--json"]).stdout)
    assert "records" not in alone and alone["changes"] == small["changes"]
    refused = CliRunner().invoke(app, [*RATE, "--records", "many"])
    assert refused.exit_code == 2 and "is not a number of records" in refused.stderr
