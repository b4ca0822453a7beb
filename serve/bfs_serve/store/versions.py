"""What the store knows of versions of models: which one each name means, how jobs of those that are tried beside it end, and who draws
these instead when they fail.

A job that was accepted is not lost to a trial: where the candidate fails it, the champion draws it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bfs_serve.store import rows, totals
from bfs_serve.store.records import QUEUED, RUNNING, SUCCEEDED, Outcome
from bfs_serve.store.tables import jobs, models
from bfs_serve.store.tables import totals as totals_table
from bfs_serve.telemetry import amounts
from bfs_serve.telemetry.amounts import Amounts

FAILED, REFUSED = "failed", "refused"
_LABEL = 12  # of a version, as everywhere in metrics


@dataclass(frozen=True, slots=True)
class Seen:
    """Jobs of one version that ended: those that failed through the model, times of the others. `oldest_s`: the longest one at work."""

    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0
    squares: float = 0.0
    oldest_s: float = 0.0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed

    @property
    def failure_rate(self) -> float:
        return self.failed / self.ended if self.ended else 0.0

    @property
    def mean_s(self) -> float:
        return self.seconds / self.succeeded if self.succeeded else 0.0

    @property
    def error_s(self) -> float:
        """The standard error of the mean."""
        if self.succeeded < 2:
            return 0.0
        variance = max(0.0, self.squares / self.succeeded - self.mean_s**2) * self.succeeded / (self.succeeded - 1)
        return math.sqrt(variance / self.succeeded)

    def since(self, before: "Seen") -> "Seen":
        """What came after."""
        counted = self.succeeded - before.succeeded, self.failed - before.failed
        return Seen(*counted, self.seconds - before.seconds, self.squares - before.squares, self.oldest_s)


def publish(connection: Connection, name: str, version: str, body: dict[str, Any], now: float) -> None:
    """Make `version` what `name` means to callers from now on."""
    values = {"version": version, "body": body, "updated_at": now}
    if not connection.execute(sa.update(models).where(models.c.name == name).values(values)).rowcount:
        connection.execute(sa.insert(models).values(name=name, **values))


def note(connection: Connection, name: str, key: str, value: Any, empty: dict[str, Any], now: float) -> None:
    """Write down one thing about a name, None to forget it, whatever else is published of it meanwhile."""
    row = connection.execute(sa.select(models.c.version, models.c.body).where(models.c.name == name).with_for_update()).one_or_none()
    version, body = ("", empty) if row is None else (row.version, row.body)
    publish(connection, name, version, {k: v for k, v in body.items() if k != key} | ({} if value is None else {key: value}), now)


def published(connection: Connection, now: float) -> dict[str, tuple[str, dict[str, Any]]]:
    """{name: (version, body)} of all names; the version is empty where none could be loaded yet."""
    return {row.name: (row.version, row.body) for row in connection.execute(sa.select(models).order_by(models.c.name))}


def ended(version: str, outcome: Outcome) -> Amounts:
    """What counts of the end of a job of this version."""
    label = version[:_LABEL]
    if not label:
        return {}
    how = SUCCEEDED if outcome.succeeded else FAILED if outcome.retryable else REFUSED
    counted: dict[tuple[str, str], float] = {(amounts.VERSION_JOBS, f"{label} {how}"): 1}
    if outcome.succeeded and outcome.seconds is not None:
        counted |= {(amounts.VERSION_SECONDS, label): outcome.seconds, (amounts.VERSION_SQUARES, label): outcome.seconds**2}
    return counted


def lost(version: str) -> Amounts:
    """A worker was lost over a job of this version."""
    return {(amounts.VERSION_JOBS, f"{version[:_LABEL]} {FAILED}"): 1}


def seen(connection: Connection, versions: Sequence[str], now: float) -> dict[str, Seen]:
    """Of each version, since the store was made."""
    names = amounts.VERSION_JOBS, amounts.VERSION_SECONDS, amounts.VERSION_SQUARES
    wanted = sa.select(totals_table.c.name, totals_table.c.label, totals_table.c.value).where(totals_table.c.name.in_(names))
    found = {(name, label): value for name, label, value in connection.execute(wanted)}
    running = sa.select(jobs.c.version, sa.func.min(jobs.c.started_at)).where(jobs.c.status == RUNNING, jobs.c.version.in_(versions))
    since: dict[str, float] = {row[0]: row[1] for row in connection.execute(running.group_by(jobs.c.version))}

    def of(version: str) -> Seen:
        label = version[:_LABEL]
        succeeded, failed = (int(found.get((amounts.VERSION_JOBS, f"{label} {how}"), 0)) for how in (SUCCEEDED, FAILED))
        seconds, squares = (found.get((name, label), 0.0) for name in names[1:])
        return Seen(succeeded, failed, seconds, squares, max(0.0, now - since[version]) if version in since else 0.0)

    return {version: of(version) for version in versions}


def instead_of(connection: Connection, model: str, version: str) -> str | None:
    """The champion, where `version` is one that is or was tried beside it; None for any other."""
    found = connection.execute(sa.select(models).where(models.c.name == model)).one_or_none()
    trial = None if found is None else found.body.get("canary")
    return str(found.version) if found and found.version and trial and trial["version"] == version != found.version else None


def redraw(connection: Connection, job_id: str, attempt: int, outcome: Outcome) -> bool:
    """Let the champion draw a job that the candidate failed. Returns whether it was one."""
    held = jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.status == RUNNING
    row = connection.execute(sa.select(jobs.c.seq, jobs.c.model, jobs.c.version).where(*held).with_for_update()).one_or_none()
    champion = None if row is None else instead_of(connection, row.model, row.version)
    if row is None or champion is None:
        return False
    pass_on(connection, row.seq, champion, "the candidate failed; the champion draws it")
    totals.add(connection, amounts.merged([ended(row.version, outcome), outcome.amounts]))
    return True


def pass_on(connection: Connection, seq: int, version: str, reason: str) -> None:
    """Queue a job again, for another version."""
    idle = {"worker": None, "lease_until": None, "started_at": None, "step": None, "steps": None}
    event = (QUEUED, {"reason": reason})
    rows.change(connection, jobs.c.seq == seq, event=event, status=QUEUED, version=version, batch="", **idle)


def take_back(connection: Connection, name: str, version: str, body: dict[str, Any], withdrawn: str, now: float) -> int:
    """Publish, and let the champion draw what waits for the withdrawn version. Returns how many jobs that are."""
    publish(connection, name, version, body, now)
    waits = jobs.c.status == QUEUED, jobs.c.model == name, jobs.c.version == withdrawn
    return connection.execute(sa.update(jobs).where(*waits).values(version=version, batch="")).rowcount
