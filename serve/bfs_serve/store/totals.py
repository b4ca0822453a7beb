"""Counters of the whole service, kept with its jobs: all replicas show the same ones, and none is lost with a process."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from bfs_serve.store.tables import totals
from bfs_serve.telemetry.amounts import Amounts


def add(connection: Connection, amounts: Amounts) -> None:
    """Add to the totals, each named by a counter and a label of it. A transaction that adds twice can block others: add once."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(totals)
    rows = [{"name": name, "label": label, "value": amount} for (name, label), amount in sorted(amounts.items())]
    if rows:  # in one order, so that no two transactions wait for each other
        grown = {"value": totals.c.value + insert.excluded.value}
        connection.execute(insert.on_conflict_do_update(index_elements=["name", "label"], set_=grown), rows)


def read(connection: Connection, now: float) -> dict[str, dict[str, float]]:
    """{counter: {label: total}} since the store was made."""
    found: dict[str, dict[str, float]] = {}
    for name, label, value in connection.execute(sa.select(totals.c.name, totals.c.label, totals.c.value)):
        found.setdefault(name, {})[label] = value
    return found
