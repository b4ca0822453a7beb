"""`python -m bfs_platform.registry.collect`: remove for good what was deleted long ago, but for what a registered version lives from.

`mlflow gc` removes the files of every deleted run, also those behind the champion. Deleted experiments are left: they cost rows.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bfs_platform.console.screen import say
from bfs_platform.jobs import JobParser, exit_code
from bfs_platform.registry.store import MODEL_ID, Registry
from bfs_platform.tracking.uri import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DAY_MS = 86_400_000


@dataclass
class Collected:
    """Ids of runs and of logged models: removed, and spared because a registered version needs them."""

    removed: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> str:
    """Collect as the arguments say. Returns the line that sums it up."""
    parser = JobParser(prog="collect", description=__doc__)
    parser.add_argument("--database", required=True, help="MLflow's database: only there stands since when something is deleted")
    parser.add_argument("--older-than-days", type=float, default=30.0, help="what was deleted later stays (default %(default)s)")
    options = parser.parse_args(arguments)
    found = collect(options.database, options.older_than_days)
    for name in found.spared:
        say(f"{name} is deleted and stays: a registered version needs its files.")
    return f"removed {len(found.removed)}, spared {len(found.spared)}"


def collect(database: str, older_than_days: float, uri: str | None = None) -> Collected:
    """Remove runs and logged models that were deleted more than `older_than_days` ago, with their files.

    Args: `database` is MLflow's own; `uri` the registry (default: MLFLOW_TRACKING_URI), through which files are removed.
    Raises: `Unreachable`, `BadInput` as the registry does.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    client = connect(uri)
    needed = set(_needed(Registry.open(uri).client))
    store, age_ms = SqlAlchemyStore(database, "mlflow-artifacts:/"), int(older_than_days * _DAY_MS)
    found = Collected()
    _remove(
        found,
        store._get_deleted_runs(older_than=age_ms),
        needed,
        client,
        lambda run: store.get_run(run).info.artifact_uri,
        store._hard_delete_run,
    )
    _remove(
        found,
        store._get_deleted_logged_models(older_than=age_ms),
        needed,
        client,
        lambda model: store.get_logged_model(model, allow_deleted=True).artifact_location,
        store._hard_delete_logged_model,
    )
    return found


def _needed(client: "MlflowClient") -> Iterator[str]:
    """Runs and logged models that some registered version names."""
    token = None
    while True:
        page = client.search_model_versions(max_results=200, page_token=token)
        for version in page:
            yield from (name for name in (version.run_id, version.model_id, version.tags.get(MODEL_ID)) if name)
        if not (token := page.token):
            return


def _remove(
    found: Collected,
    names: Iterable[str],
    needed: set[str],
    client: "MlflowClient",
    place: Callable[[str], str],
    forget: Callable[[str], Any],
) -> None:
    """Files first: what is still known can be removed by the next try."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    for name in names:
        if name in needed:
            found.spared.append(name)
            continue
        get_artifact_repository(place(name), tracking_uri=client.tracking_uri).delete_artifacts()
        forget(name)
        found.removed.append(name)


if __name__ == "__main__":
    sys.exit(exit_code(main))
