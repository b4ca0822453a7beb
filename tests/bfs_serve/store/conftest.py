"""Databases for the tests of the store: SQLite, and a PostgreSQL that the tests start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import database, postgres_server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test run; a URL with a place for the database's name."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return str(tmp_path / "jobs.db") if request.param == "sqlite" else database(request.getfixturevalue("postgres"))
