"""Lines of logs: JSON on stderr, each with the request and the job that it is about.

What is written: names, ids, numbers. What is not: prompts, pictures, keys. Ray keeps the lines of every process in its folder of logs.
"""

import logging
import os
import re
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

LEVEL_VARIABLE = "BFS_LOG_LEVEL"
_NAME = "bfs_serve"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECRETS = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+|(://[^:/@\s]*:)[^@/\s]+(?=@)")
_REMOVED = r"\1\2***"

Event = MutableMapping[str, Any]


def _without_secrets(logger: Any, method: str, event: Event) -> Mapping[str, Any]:
    """Keys and passwords that libraries put into what they say."""
    return {name: _SECRETS.sub(_REMOVED, value) if isinstance(value, str) else value for name, value in event.items()}


_SHARED: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.processors.TimeStamper("iso")]

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger(_NAME),
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
)
"""`log.info("what happened", name=value, …)`; `log.bind(job=…)` for what several lines are about."""


def configure(stream: TextIO | None = None) -> None:
    """Write the lines of this process, to stderr. Without it they go where other loggers do; a second time changes nothing."""
    logger = logging.getLogger(_NAME)
    if logger.handlers:
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    rendered: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _without_secrets,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=rendered))
    logger.addHandler(handler)
    level = os.environ.get(LEVEL_VARIABLE, "INFO").upper()
    logger.setLevel(level if level in logging.getLevelNamesMapping() else "INFO")
    logger.propagate = False


def request_id(given: str | None) -> str:
    """The caller's id for a request, unless it could break or flood a log; else one of ours."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def about(request_id: str) -> None:
    """From here on lines of this context are about a request."""
    structlog.contextvars.bind_contextvars(request_id=request_id)
