"""Spans as a collector receives them, and nothing at all where there is none."""

import os
import subprocess
import sys

from collector import collecting

_TOLD = """
from bfs_serve.telemetry import traces
from bfs_serve.model.stages import Stages
request = traces.begin("request", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", attributes={"http.route": "/v1/layers"})
stages = Stages()
with stages.measured("load"):
    pass
with stages.drawn():
    stages.stepped(1)
stages.trace(request.traceparent, {"job.id": "j"})
request.end()
traces.flush()
print(request.traceparent)
"""
_IMPORTED = "import sys; import bfs_serve.guard, bfs_serve.api.ingress, bfs_serve.model.sampler; print(*sys.modules)"


def _run(code: str, **env: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=plain | env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_is_part_of_its_request_and_stages_are_parts_of_it() -> None:
    """The caller's own trace goes on, and times are those of the stages."""
    with collecting() as collector:
        traceparent = _run(_TOLD, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    (request,), (attempt,), (denoise,) = (collector.named(name) for name in ("request", "attempt", "denoise"))
    assert request.trace_id == bytes.fromhex("a" * 32) == attempt.trace_id and request.parent_span_id == bytes.fromhex("b" * 16)
    assert traceparent == f"00-{'a' * 32}-{request.span_id.hex()}-01"
    assert attempt.parent_span_id == request.span_id and denoise.parent_span_id == attempt.span_id
    assert attempt.start_time_unix_nano <= denoise.start_time_unix_nano <= denoise.end_time_unix_nano <= attempt.end_time_unix_nano
    assert {span.name for span in collector.spans} == {"request", "attempt", "load", "denoise", "decode"}
    assert collector.services == {"bfs"}


def test_without_a_collector_the_trace_of_the_caller_is_passed_on() -> None:
    """And what is none is not."""
    code = "from bfs_serve.telemetry import traces; print([traces.begin('x', p).traceparent for p in ({!r}, 'nonsense')])"
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    assert _run(code.format(given)) == str([given, ""])


def test_without_a_collector_nothing_is_imported_for_it() -> None:
    """Neither exporter nor SDK, so that a start costs nothing."""
    imported = _run(_IMPORTED).split()
    assert "structlog" in imported and "ray" not in imported
    assert [name for name in imported if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))] == []  # FastAPI has the API
