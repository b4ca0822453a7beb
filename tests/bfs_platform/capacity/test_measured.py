"""What a service has measured of itself: which drawings count, how far they spread, and what is no measurement."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bfs_model.errors import BadInput
from bfs_platform.capacity.measured import drawings_of
from bfs_platform.cli.main import app

SERVED, BEFORE = "a1b2c3d4e5f60718293a", "ffff00001111"
INFO = f'bfs_model_info{{name="models:/bfs@champion",version="{SERVED}"}} 1.0\n'
# Of what is served: two drawings of 2 s and two of 4 s, and a failed one. Of the version before: a slow one.
SHOWN = f"""# HELP bfs_version_jobs_total Jobs that ended, by the version of the model.
# TYPE bfs_version_jobs_total counter
bfs_version_jobs_total{{outcome="succeeded",version="{SERVED[:12]}"}} 4.0
bfs_version_jobs_total{{outcome="failed",version="{SERVED[:12]}"}} 1.0
bfs_version_jobs_total{{outcome="succeeded",version="{BEFORE}"}} 1.0
bfs_version_seconds_total{{version="{SERVED[:12]}"}} 12.0
bfs_version_seconds_total{{version="{BEFORE}"}} 100.0
bfs_version_squared_seconds_total{{version="{SERVED[:12]}"}} 40.0
bfs_version_squared_seconds_total{{version="{BEFORE}"}} 10000.0
bfs_jobs_queued 0.0
{INFO}"""
RATE = ["capacity", "--requests-per-second", "10", "--p95", "60s", "--price", "1"]


def test_drawings_of_what_is_served_count() -> None:
    """Neither failures nor versions that were served before; three seconds on average, one up or down."""
    found = drawings_of(SHOWN, "here")
    assert (found.num_jobs, found.mean_s, found.variation) == (4, 3.0, pytest.approx(1 / 3))


def test_a_spread_that_is_not_told_is_none() -> None:
    """It is not nothing."""
    without = "\n".join(line for line in SHOWN.splitlines() if "squared" not in line)
    assert drawings_of(without, "here").variation is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not say which models are served"),
        ("<html>Not Found</html>", "does not say which models are served"),
        (INFO, "has drawn nothing yet with what it serves"),
        (INFO.replace(SERVED, ""), "does not say which models are served"),  # none could be loaded yet
        (SHOWN.replace(SERVED[:12], "0" * 12).replace("0" * 12 + SERVED[12:], SERVED), "has drawn nothing yet"),
    ],
)
def test_what_is_no_measurement_is_refused(text: str, said: str) -> None:
    """With its place."""
    with pytest.raises(BadInput, match=f"measured=here {said}"):
        drawings_of(text, "here")


def test_a_plan_says_where_its_seconds_are_from(tmp_path: Path) -> None:
    """A kept measurement with its time, a number that was given, or an assumption."""
    kept = tmp_path / "metrics.txt"
    kept.write_text(SHOWN)
    os.utime(kept, (1_700_000_000, 1_700_000_000))
    plan = json.loads(CliRunner().invoke(app, [*RATE, "--measured", str(kept), "--json"]).stdout)
    assert plan["draw_s"] == 3.0 and plan["variation"] == pytest.approx(1 / 3) and plan["samplers"] == 34
    assert plan["draw_seconds"] == f"measured: 4 jobs of {kept}, as of 2023-11-14 22:13 UTC"
    assert json.loads(CliRunner().invoke(app, [*RATE, "--measured", str(kept), "--variation", "0", "--json"]).stdout)["variation"] == 0
    given = json.loads(CliRunner().invoke(app, [*RATE, "--draw-seconds", "3", "--json"]).stdout)
    assert (given["draw_seconds"], given["variation"]) == ("given by --draw-seconds", 0.1)
    assert "assumed: 28 steps at 512 pixels, counted, at 400 TFLOP/s of one H200" in CliRunner().invoke(app, RATE).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--measured", "nowhere.txt"], "measured=nowhere.txt cannot be read (No such file or directory); give the address of"),
        (["--measured", "ftp://host/metrics"], "measured=ftp://host/metrics cannot be read"),
        (["--measured", "http://[::1/"], "url=http://[::1/ is not an http address"),
        (["--measured", "x", "--draw-seconds", "3"], "draw-seconds=3.0 and measured=x both say how long a drawing takes; give one"),
    ],
)
def test_wrong_options_are_refused(options: list[str], said: str) -> None:
    """One line, exit code 2."""
    done = CliRunner().invoke(app, [*RATE, *options])
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
