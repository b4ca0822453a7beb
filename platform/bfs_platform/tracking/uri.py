"""Where tracking lives, and how this process talks to it.

Everything is absolute: Ray starts workers in other directories, and a relative path would quietly open a second store there.
"""

import logging
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from bfs_model.errors import BadInput
from bfs_platform.proxies import check_proxy, spare_loopback
from bfs_platform.tracking.schema import check_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_REMEDY = "give http(s)://host:port or sqlite:////absolute/path/mlflow.db"

# One try and a short wait: callers decide what to do about a server that does not answer.
_CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def bfs_home() -> Path:
    """The directory for local state (database, cache, buffers): `BFS_HOME`, or `.bfs` where the program was started. Absolute."""
    return Path(os.environ.get("BFS_HOME") or ".bfs").absolute()


def tracking_uri() -> str:
    """The MLflow store: `MLFLOW_TRACKING_URI`, or a SQLite database in `bfs_home()`. Always absolute, never a file store.

    Raises: `BadInput` for a scheme that MLflow's registry does not support.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return checked_uri(uri) if uri else f"sqlite:///{bfs_home() / 'mlflow.db'}"


def checked_uri(uri: str) -> str:
    """Return `uri` with any relative SQLite path made absolute. Raises `BadInput` for stores that cannot hold a registry."""
    scheme = uri.split(":", 1)[0].split("+", 1)[0]
    if scheme not in _SCHEMES or "://" not in uri:
        raise BadInput("MLFLOW_TRACKING_URI", uri, "is not a tracking server or database", _REMEDY)
    if scheme != "sqlite":
        return uri.rstrip("/")
    if not uri.startswith("sqlite:///") or uri == "sqlite:///":
        raise BadInput("MLFLOW_TRACKING_URI", uri, "names no database file", _REMEDY)
    return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"


def database_path(uri: str) -> Path | None:
    """The file of a SQLite store, or None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def connect(uri: str | None = None) -> "MlflowClient":
    """A client for `uri` (default: `tracking_uri()`), which serves runs and registry alike.

    A SQLite database is created here on first use, under a lock, since several processes may be the first.
    Raises: `BadInput` for a store that this MLflow cannot use, or a proxy on the way to it that cannot be used.
    """
    uri = checked_uri(uri) if uri else tracking_uri()
    if uri.startswith("http"):
        spare_loopback()
        check_proxy(uri, "requests")
    for key, value in _CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    return _client(uri, os.getpid())


@lru_cache(maxsize=8)
def _client(uri: str, pid: int) -> "MlflowClient":
    """One client per store and process: a new one reads the whole schema again, and connections do not survive a fork."""
    from filelock import FileLock
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = database_path(uri)
    if path is None:
        return MlflowClient(uri, registry_uri=uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")), warnings.catch_warnings():
        check_database(path, uri)  # not one that another process is just making
        # MLflow's table definitions use an SQLAlchemy option that 2.1 deprecates; they are read here, once per process.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
        client = MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)  # the tables of both stores are made by the constructor and the first question
    return client


def experiment_id(client: "MlflowClient", name: str) -> str:
    """The id of the experiment `name`, created if need be. Raises `BadInput` if it was deleted, `MlflowException` otherwise."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri, name)))
        except MlflowException as error:
            found = client.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise BadInput("experiment", name, "was deleted in MLflow", "restore it there or use another name")
    return str(found.experiment_id)


def _artifact_location(uri: str, experiment: str) -> str | None:
    """A server decides for itself; beside a database, artifacts lie in its directory (MLflow's default is the working directory)."""
    if uri.startswith("http"):
        return None
    database = database_path(uri)
    root = bfs_home() if database is None else database.parent
    return (root / "artifacts" / quote(experiment, safe="")).as_uri()
