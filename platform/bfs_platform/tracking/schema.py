"""Whether a database is one that this MLflow can use: asked before MLflow opens it, as MLflow migrates some without a word."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from bfs_model.errors import BadInput

_KEY = "MLFLOW_TRACKING_URI"
_REMEDY = "name an MLflow database, or a path where there is nothing yet"


def check_database(path: Path, uri: str) -> None:
    """Raises: `BadInput` when `path` holds something else than an MLflow database of this version; a missing or empty file is new."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return
            found = database.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
    except sqlite3.Error as error:
        raise BadInput(_KEY, uri, f"is no SQLite database that can be read ({error})", _REMEDY) from None
    if "experiments" not in tables:
        raise BadInput(_KEY, uri, "is a database of something else than MLflow", _REMEDY)
    _check_revision(uri, found[0] if found else "")


def _check_revision(uri: str, found: str) -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
    expected = scripts.get_current_head()
    if found == expected:
        return
    if found and found not in {script.revision for script in scripts.walk_revisions()}:
        raise BadInput(_KEY, uri, f"was written by a newer MLflow (schema {found})", "use the BFS that wrote it, or another store")
    remedy = f"copy it as a backup, then run `{sys.executable} -m mlflow db upgrade {uri}`"
    raise BadInput(_KEY, uri, f"has the schema of an older MLflow ({found or 'none'} instead of {expected})", remedy)
