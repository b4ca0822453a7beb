"""Problem documents."""

import json

import pytest

from bfs_model.errors import BadInput
from bfs_serve.problems import KINDS, Problem, entry, of_bad_input, of_status


@pytest.mark.parametrize("slug", KINDS)
def test_every_kind_is_a_complete_document(slug: str) -> None:
    """type, title, status and detail, as RFC 9457 names them."""
    body = json.loads(Problem(slug, "Because.").encoded("urn:bfs:request:1"))
    assert body["type"] == f"urn:bfs:problem:{slug}" and 400 <= body["status"] < 600 and body["title"]
    assert (body["detail"], body["instance"]) == ("Because.", "urn:bfs:request:1") and "errors" not in body


def test_bad_input_keeps_key_value_rule_and_remedy() -> None:
    """In parts for programs and in one line for people; a long value is cut."""
    problem = of_bad_input(BadInput("steps", "9" * 300, "is too many", "use 28"))
    error = problem.errors[0]
    assert (error["key"], error["rule"], error["remedy"], error["pointer"]) == ("steps", "is too many", "use 28", "/steps")
    assert len(error["value"]) == 200 and problem.detail.endswith("is too many; use 28.")


def test_nothing_a_caller_sends_breaks_the_encoding() -> None:
    """Half a surrogate pair and control characters are escaped."""
    problem = Problem("invalid", "No.", (entry(BadInput("box", "\ud800\x00<b>", "is no box")),))
    assert problem.encoded().isascii() and json.loads(problem.encoded())["errors"][0]["value"] == "\ud800\x00<b>"


@pytest.mark.parametrize(
    ("status", "slug"), [(404, "not-found"), (405, "method-not-allowed"), (418, "malformed"), (500, "internal"), (599, "internal")]
)
def test_any_status_is_a_problem(status: int, slug: str) -> None:
    """Frameworks raise bare statuses."""
    problem = of_status(status, "No.", {"Allow": "GET"})
    assert (problem.status, problem.slug, problem.all_headers()["Allow"]) == (status, slug, "GET")


def test_retry_after_is_a_header() -> None:
    """In whole seconds."""
    assert Problem("busy", "Full.", retry_after_s=3).all_headers()["Retry-After"] == "3"
    assert "Retry-After" not in Problem("busy", "Full.").all_headers()
