"""What a line of progress says."""

import pytest

from bfs_platform.console.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands where its only entry says."""
    now = [100.0]
    monkeypatch.setattr("bfs_platform.console.progress.time.monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_are_those_of_the_work_itself(clock: list[float]) -> None:
    """A slow start does not count: 20 records in 10 s after it, 60 to go; between two calls the time left goes down."""
    shown = Progress("work", 100, "records")
    clock[0] = 160.0
    assert shown.text() == "0/100 records, 60 s so far"
    shown(20)
    assert shown.text() == "20/100 records, 60 s so far"
    clock[0] = 170.0
    shown(40, note="1 rejected")
    assert shown.text() == "40/100 records, 2.0/s, 30 s left, 1 rejected"
    clock[0] = 180.0
    assert shown.text() == "40/100 records, 2.0/s, 20 s left, 1 rejected"
    clock[0] = 300.0
    assert "0 s left" in shown.text()


def test_what_was_there_before_is_no_work(clock: list[float]) -> None:
    """A run that goes on at 90 of 100 has done 2 in 40 s, not 92."""
    shown = Progress("work", 100, "steps")
    shown(90)
    clock[0] += 40
    shown(92)
    assert shown.text() == "92/100 steps, 20 s each, 3 min left"


def test_two_workers_at_once_are_no_rate(clock: list[float]) -> None:
    """Each tells of a batch in the same moment; the next one says how fast they are."""
    shown = Progress("evaluation", 200, "records")
    clock[0] += 120
    shown(13)
    clock[0] += 0.001
    shown(26)
    assert shown.text() == "26/200 records, 2 min so far"
    clock[0] += 40
    shown(39)
    assert shown.text() == "39/200 records, 0.65/s, 4 min left"


def test_the_end(clock: list[float]) -> None:
    """When all is done there is no rate to tell, but something may still be written; then it is over."""
    shown = Progress("work", None, "steps")
    assert shown.text() == "0/? steps, 0 s so far"
    clock[0] += 7
    shown(3, total=3)
    assert shown.text() == "3/3 steps, finishing, 7 s so far" and shown.summary() == "3/3 steps in 7 s"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (7800, "2 h 10 min")])
def test_durations(seconds: float, said: str) -> None:
    """Seconds, minutes and hours as people say them."""
    assert duration(seconds).replace("1 h 30 min", "90 min") == said
