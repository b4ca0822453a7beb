"""Put a model folder into the registry as a new version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bfs_model.weight.bundle import locate
from bfs_platform.registry.folder import check_folder
from bfs_platform.registry.store import CONTENT_HASH, MODEL_ID, Reference, Registry, registry_errors, transfer_timeout
from bfs_platform.tracking.uri import experiment_id

_EXPERIMENT = "bfs-registry"  # for models that come from no run


def register(
    model_dir: Path | str, name: str = "bfs", run_id: str | None = None, tags: Mapping[str, str] | None = None, *, uri: str | None = None
) -> str:
    """Check a model folder, upload it and create a version of `name`. Content that is already registered keeps its version.

    The version becomes visible only after the upload is complete. Its tags hold the content hash and the base's.

    Args: `run_id` is the training run that made the model. Returns: the version number, as text.
    Raises: `IntegrityError` for a damaged folder or one with files that a model must not hold; `Unreachable`; `BadInput`.
    """
    Reference.parse(f"models:/{name}/1")  # the name's rule
    directory = locate(model_dir)
    manifest = check_folder(directory)
    registry = Registry.open(uri)
    with registry_errors(registry.uri, "model", name), transfer_timeout():
        existing = _version_of(registry, name, manifest[CONTENT_HASH])
        return existing or _create(registry, directory, manifest, name, run_id, dict(tags or {}))


def _create(registry: Registry, directory: Path, manifest: dict[str, Any], name: str, run_id: str | None, tags: dict[str, str]) -> str:
    client = registry.client
    run_id = run_id or _run_of_its_own(registry, name)
    experiment = client.get_run(run_id).info.experiment_id
    base = manifest["body"]["base"]
    facts = {CONTENT_HASH: manifest[CONTENT_HASH], "base.name": str(base["name"]), "base.content_hash": base["content_hash"]}
    logged = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags=facts, model_type="bfs")
    client.log_model_artifacts(logged.model_id, str(directory))
    client.finalize_logged_model(logged.model_id, "READY")
    _ensure_model(registry, name)
    # The artifact location instead of `models:/m-…`: MLflow looks the latter up in the process-wide store, not in this client's.
    version = client.create_model_version(
        name,
        source=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        tags={**tags, **facts, MODEL_ID: logged.model_id},
        await_creation_for=0,
    )
    return str(version.version)


def _version_of(registry: Registry, name: str, content_hash: str) -> str | None:
    found = registry.client.search_model_versions(f"name = '{name}' AND tags.`{CONTENT_HASH}` = '{content_hash}'", max_results=1)
    return str(found[0].version) if found else None


def _ensure_model(registry: Registry, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        registry.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _run_of_its_own(registry: Registry, name: str) -> str:
    run = registry.client.create_run(experiment_id(registry.client, _EXPERIMENT), run_name=f"register {name}")
    registry.client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)
