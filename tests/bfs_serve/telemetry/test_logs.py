"""Lines of the log: JSON, about a request and its job, with nothing secret in them."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from bfs_serve.edge.signature import SECRET_VARIABLE, CallerFacts, signed
from bfs_serve.edge.signature import secret as edge_secret
from bfs_serve.guard import Guard, GuardLimits
from bfs_serve.keys import KeyRing, hash_key
from bfs_serve.store.database import Database
from bfs_serve.telemetry.logs import log

FIELDS = {"box": "8,4,40,28", "prompt": "an unmistakable prompt", "steps": "2"}


def lines_of(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_one_id_leads_from_the_answer_to_the_job_and_through_the_log(
    serve: Callable[..., TestClient], make_png: Callable[..., bytes], written: io.StringIO
) -> None:
    """The caller's own id; what is drawn for it says so, too."""
    headers = {"X-Request-Id": "mine-1", "Prefer": "wait=30"}
    answer = serve().post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers=headers)
    assert answer.status_code == 200 and answer.json()["request_id"] == "mine-1"
    about = {line["event"]: line for line in lines_of(written) if line.get("job") == answer.json()["id"]}
    assert {"accepted", "claimed", "ended"} <= set(about)
    assert {line["request_id"] for line in about.values()} == {"mine-1"}
    assert about["ended"]["succeeded"] is True and about["ended"]["level"] == "info" and about["ended"]["timestamp"]


def test_nothing_secret_is_written(
    serve: Callable[..., TestClient], make_png: Callable[..., bytes], written: io.StringIO, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither prompts nor keys, whether a request succeeds, is refused, or fails in the engine or at the guard."""
    monkeypatch.setenv(SECRET_VARIABLE, "ours")
    client = serve(require_guard=True)
    (tmp_path / "keys").write_text(f"ann {hash_key('sesame-1')}\n")
    guarded = TestClient(Guard(client.app, GuardLimits(), KeyRing(tmp_path / "keys")), raise_server_exceptions=False)
    guarded.portal = client.portal  # one event loop for both
    for prompt, key in (("an unmistakable prompt", "sesame-1"), ("fail", "sesame-1"), ("", "sesame-1"), ("a ball", "sesame-2")):
        headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30", "Idempotency-Key": "sesame-3"[: len(prompt) or None]}
        guarded.post("/v1/layers", files={"background": make_png()}, data=FIELDS | {"prompt": prompt}, headers=headers)
    text = written.getvalue()
    assert "unmistakable" not in text and "sesame" not in text
    requests = [line for line in lines_of(written) if line["event"] == "request"]
    assert [(line["status"], line["caller"]) for line in requests] == [(200, "ann"), (422, "ann"), (422, "ann"), (401, "")]
    assert any("could not be drawn" in line["event"] and "told to fail" in line["exception"] for line in lines_of(written))


def test_what_libraries_say_is_cleaned(written: io.StringIO, tmp_path: Path) -> None:
    """Keys in headers, passwords in addresses; and a database tells what failed, not what was written."""
    logging.getLogger("bfs_serve").warning("sent %s to %s", "Authorization: Bearer sesame", "postgresql://bfs:sesame@host/db")
    database, prompt = Database(str(tmp_path / "jobs.db")), "unmistakable"
    try:
        with database.writing() as connection:
            connection.execute(sa.text("INSERT INTO jobs (id) VALUES (:prompt)"), {"prompt": prompt})
    except sa.exc.SQLAlchemyError:
        log.exception("failed")
    database.close()
    first, second = lines_of(written)
    assert first["event"] == "sent Authorization: Bearer *** to postgresql://bfs:***@host/db"
    assert "IntegrityError" in second["exception"] and "unmistakable" not in second["exception"]


def test_who_calls_is_known_inside_only_by_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature of one header is none of another."""
    from bfs_serve.edge.signature import verified_counts

    monkeypatch.setenv(SECRET_VARIABLE, "ours")
    key = edge_secret()
    assert key is not None
    assert verified_counts(signed(CallerFacts("ann"), "r", key), "r", key) is None
