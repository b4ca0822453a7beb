"""The log of this process as it is written."""

import io
import logging
from collections.abc import Iterator

import pytest

from bfs_serve.telemetry import logs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to the log, everything included."""
    logger, stream = logging.getLogger("bfs_serve"), io.StringIO()
    before, handlers = (logger.level, logger.propagate), logger.handlers[:]
    logger.handlers.clear()  # of an application that another test made
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "debug")
    logs.configure(stream)
    logs.configure()  # a second time changes nothing
    yield stream
    logger.handlers[:] = handlers
    logger.level, logger.propagate = before
