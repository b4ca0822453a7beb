"""Between rows and records, and the two statements that every change of a job consists of."""

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from bfs_serve.store.records import QUEUED, Job
from bfs_serve.store.tables import events, jobs, uses

_PLAIN = [field.name for field in dataclasses.fields(Job) if field.name != "position"]


def to_job(connection: Connection, row: Row[Any]) -> Job:
    """The record of a row of `jobs`."""
    values = row._mapping
    position = None
    if values["status"] == QUEUED:
        earlier = sa.select(sa.func.count()).where(jobs.c.status == QUEUED, jobs.c.seq < values["seq"])
        position = int(connection.execute(earlier).scalar_one())
    return Job(**{name: values[name] for name in _PLAIN}, position=position)


def by_id(job_id: str, now: float) -> sa.Select[Any]:
    """The row of a job, unless its time is over."""
    return sa.select(jobs).where(jobs.c.id == job_id, _alive(now))


def of_owner(owner: str, now: float) -> sa.Select[Any]:
    """The rows of an owner."""
    return sa.select(jobs).where(jobs.c.owner == owner, _alive(now))


def change(connection: Connection, *where: Any, event: tuple[str, dict[str, Any]] | None = None, **values: Any) -> Row[Any] | None:
    """Update at most one job, found by `where`, and append an event (name, data) to it where one is given. Returns its new row, or
    None where there is no such job."""
    if event is not None:
        values["num_events"] = jobs.c.num_events + 1
    row = connection.execute(sa.update(jobs).where(*where).values(**values).returning(jobs)).one_or_none()
    if row is not None and event is not None:
        connection.execute(sa.insert(events).values(job=row.seq, id=row.num_events, name=event[0], data=event[1]))
    return row


def tell(connection: Connection, seq: int, name: str, data: dict[str, Any]) -> None:
    """Append an event to a job."""
    change(connection, jobs.c.seq == seq, event=(name, data))


def use(connection: Connection, seq: int, blobs: tuple[str, ...]) -> None:
    """Keep blobs for as long as a job is kept."""
    known = set(connection.execute(sa.select(uses.c.blob).where(uses.c.job == seq)).scalars())
    new = [{"blob": blob, "job": seq} for blob in dict.fromkeys(blobs) if blob not in known]
    if new:
        connection.execute(sa.insert(uses), new)


def _alive(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now)
