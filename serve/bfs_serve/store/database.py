"""The database: SQLite in a file for one node, PostgreSQL for several; opened, brought up to date, and its transactions."""

import asyncio
import errno
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from bfs_model.errors import BadInput

Value = TypeVar("Value")

_REMEDY = "give a file, sqlite:////absolute/path.db, or postgresql://user:password@host/database"
_LOCK = 0x0BF5  # PostgreSQL's advisory lock under which limits are checked and schemas changed
_BUSY_S = 30.0
_THREADS = {"sqlite": 1, "postgresql": 4}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_POSTGRESQL_FULL = "53100"  # disk_full in its table of error codes


class Database:
    """One process's way to the database. Synchronous transactions (`reading`, `writing`), and `run` to await them.

    `url`: a path, or a URL of SQLAlchemy's. `clock`: seconds since the epoch; PostgreSQL's own where that is the database, since
    the clocks of several machines differ. Raises `BadInput` when it cannot be opened, is no store of ours, or is a newer one.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.url = parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS[self.url.get_backend_name()], thread_name_prefix="store")
        # What callers sent (`hide_parameters`) is not to stand in messages of errors, which end in logs.
        if self.is_sqlite:
            self._make_folder(Path(str(self.url.database)).parent)
            self.engine = sa.create_engine(self.url, connect_args={"timeout": _BUSY_S}, hide_parameters=True)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(self.url, pool_pre_ping=True, pool_size=_THREADS["postgresql"], hide_parameters=True)
        self._upgrade()

    @property
    def place(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BadInput("store", self.place, f"cannot be opened ({error.strerror})", _REMEDY) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, alone: bool = False) -> Iterator[Connection]:
        """A transaction that changes something, which those who wait for changes hear of when it is committed.

        `alone`: no other one of this kind runs at the same time, so that what was counted stays true. On SQLite all writing is alone.
        """
        with self.engine.connect().execution_options(bfs_write=True) as connection, connection.begin():
            if alone and not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection
            if not self.is_sqlite:
                connection.execute(sa.text("NOTIFY bfs"))

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch."""
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return time.time()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    async def run(self, work: Callable[..., Value], *args: Any, **kwargs: Any) -> Value:
        """Call `work` on a thread of the store. Once begun it is carried to its end, also when the caller is canceled."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=True)
        self.engine.dispose()

    def _upgrade(self) -> None:
        """Apply the migrations that are missing; those of other processes that start now wait for it."""
        try:
            with self.writing(alone=True) as connection:
                _migrate(connection, self.place)
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:200]
            raise BadInput("store", self.place, f"cannot be opened ({reason})", _REMEDY) from None


def parse(url: str) -> URL:
    """The URL of a store; a plain path means a SQLite file. Raises `BadInput`."""
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser().absolute()))
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput("store", "<url>", "is not a URL of a database", _REMEDY) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise BadInput("store", backend, "is not a kind of database that the store knows", _REMEDY)
    if parsed.database in (None, "", ":memory:"):
        raise BadInput("store", url, "is in the memory of one process, and the service has several", _REMEDY)
    return parsed.set(database=str(Path(parsed.database or "").absolute()))


def is_full(error: BaseException | None) -> bool:
    """Whether `error`, or what it was raised from, says that a disk has no room, that of the database or of the blobs."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        told = error.orig if isinstance(error, DBAPIError) else error
        if getattr(told, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(told, "sqlstate", None) == _POSTGRESQL_FULL:
            return True
        error = error.__cause__
    return False


def _migrate(connection: Connection, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    tables = set(sa.inspect(connection).get_table_names())
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if "schema_version" in tables:
        found = connection.execute(sa.text("SELECT version_num FROM schema_version")).scalar_one_or_none()
        if found not in {None, *known}:
            raise BadInput("store", place, f"was written by a newer version of bfs (schema {found})", "update bfs, or name another store")
    elif tables:
        raise BadInput("store", place, f"is a database of something else (it has a table {min(tables)})", "name another one")
    command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # else Python's module begins transactions by itself, and too late
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the write lock at once: one that must first be promoted can fail half-way."""
    write = connection.get_execution_options().get("bfs_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
