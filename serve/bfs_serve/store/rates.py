"""How often a caller may start something: `limits` over a table of the store, so that all replicas count together."""

import math
import time
from typing import Any

import sqlalchemy as sa
from limits import parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from bfs_serve.store.database import Database
from bfs_serve.store.tables import counters


class CounterTable(Storage):
    """A storage of the library `limits`: counters that expire. All calls block."""

    STORAGE_SCHEME = None

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    @property
    def base_exceptions(self) -> type[Exception]:
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        with self._database.writing() as connection:
            now = self._database.now(connection)
            insert = (sqlite if self._database.is_sqlite else postgresql).insert(counters)
            over = counters.c.expires_at <= now
            statement = insert.values(key=key, value=amount, expires_at=now + expiry).on_conflict_do_update(
                index_elements=["key"],
                set_={
                    "value": sa.case((over, amount), else_=counters.c.value + amount),
                    "expires_at": sa.case((over, now + expiry), else_=counters.c.expires_at),
                },
            )
            connection.execute(statement)
            return int(connection.execute(sa.select(counters.c.value).where(counters.c.key == key)).scalar_one())

    def get(self, key: str) -> int:
        return self._read(key, counters.c.value, 0)

    def get_expiry(self, key: str) -> float:
        return self._read(key, counters.c.expires_at, time.time())

    def check(self) -> bool:
        with self._database.reading() as connection:
            return connection.execute(sa.select(sa.literal(1))).scalar_one() == 1

    def reset(self) -> int:
        with self._database.writing() as connection:
            return int(connection.execute(sa.delete(counters)).rowcount)

    def clear(self, key: str) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(counters).where(counters.c.key == key))

    def _read(self, key: str, column: Any, default: Any) -> Any:
        with self._database.reading() as connection:
            alive = counters.c.key == key, counters.c.expires_at > self._database.now(connection)
            return connection.execute(sa.select(column).where(*alive)).scalar_one_or_none() or default


class Rates:
    """Counts hits of callers. `default`: the rate of those that have none of their own, like "600/minute"; empty: none."""

    def __init__(self, database: Database, default: str = "") -> None:
        self._database, self._default = database, default
        self._table = CounterTable(database)
        self._limiter = FixedWindowRateLimiter(self._table)

    async def hit(self, owner: str, rate: str = "") -> int | None:
        """Count one hit. Returns None where it is within the rate, else the seconds until the next one may be."""
        wanted = rate or self._default
        if not wanted:
            return None
        return await self._database.run(self._hit, owner, wanted)

    def _hit(self, owner: str, rate: str) -> int | None:
        item = parse(rate)
        if self._limiter.hit(item, owner):
            return None
        left_s = self._table.get_expiry(item.key_for(owner)) - self._now()
        return max(1, math.ceil(left_s))

    def _now(self) -> float:
        with self._database.reading() as connection:
            return self._database.now(connection)
