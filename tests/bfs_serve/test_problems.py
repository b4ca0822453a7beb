"""Problem documents."""

import json
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_serve.problems import KINDS, Problem, entry, of_bad_input, of_status, of_validation


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


def test_the_answer_to_many_faults_is_short() -> None:
    """Half a MiB of unknown keys, many or one of great length, is answered in a few KiB that still say how many there are."""
    faults: list[dict[str, Any]] = [
        {"loc": (f"{n}" * 9000,), "msg": "Extra inputs are not permitted", "type": "extra_forbidden"} for n in range(5000)
    ]
    problem = of_validation(faults)
    assert len(problem.encoded()) < 8192 and len(problem.errors) == 20 and "5000 fields" in problem.detail


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
