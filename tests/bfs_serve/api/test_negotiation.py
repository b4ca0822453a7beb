"""Accept, format and Prefer."""

import pytest

from bfs_serve.api.request.negotiation import choose_format, preferred_wait_s
from bfs_serve.problems import ProblemError


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("image/*", "png"),
        ("image/png", "png"),
        ("IMAGE/PNG", "png"),
        ("image/vnd.adobe.photoshop", "psd"),
        ("application/zip;q=0.5, image/openraster;q=0.9", "ora"),
        ("text/html, */*;q=0.1", "json"),
        ("application/json;q=0, */*", "png"),
        ("image/*;q=0.2, image/png;q=0, application/zip;q=0.1", "psd"),
        ("application/json;q=broken, image/png;q=0.1", "png"),
        ("application/json;q=nan, image/png;q=0.1", "png"),
    ],
)
def test_accept_chooses_by_quality_then_by_our_order(accept: str | None, chosen: str) -> None:
    """The most specific range decides a type's quality; among equals the first of ours wins."""
    assert choose_format([accept] if accept is not None else []) == chosen


def test_several_accept_headers_are_one_list() -> None:
    """RFC 9110 §5.3: a field sent twice is a field with both values."""
    assert choose_format(["text/html", "image/png;q=0.5"]) == choose_format(["text/html, image/png;q=0.5"]) == "png"


def test_format_wins_over_accept() -> None:
    """Browsers cannot set Accept."""
    assert choose_format(["application/json"], "psd") == "psd"


@pytest.mark.parametrize(
    ("accept", "wish"), [("text/html", None), ("image/jpeg, text/*", None), ("image/png;q=0", None), ("*/*", "bmp"), (None, "")]
)
def test_what_cannot_be_given_is_406(accept: str | None, wish: str | None) -> None:
    """The problem lists what can be given."""
    with pytest.raises(ProblemError) as caught:
        choose_format([accept] if accept is not None else [], wish)
    assert caught.value.problem.status == 406
    assert "image/openraster" in caught.value.problem.detail


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ([], None),
        (["wait=5"], 5.0),
        (["wait=5, handling=lenient"], 5.0),
        (['handling=lenient; wait="7"'], 7.0),
        (["handling=lenient", "wait = 9"], 9.0),
        (["wait=100000"], 60.0),
        (["wait=0"], None),
        (["wait=-1"], None),
        (["wait=soon"], None),
        (["respond-async, wait=5"], 5.0),
        (["respond-async"], None),
    ],
)
def test_prefer_wait_is_read_bounded_and_otherwise_ignored(prefer: list[str], wait_s: float | None) -> None:
    """Preferences that make no sense are ignored, as RFC 7240 wants."""
    assert preferred_wait_s(prefer, longest_s=60) == wait_s
