"""What each kind of event does to a run in MLflow. Delivering an event twice leaves the run as delivering it once.

Only images are the exception: a repeated one appears twice under its key and step.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_platform.tracking.journal import Event
from bfs_platform.tracking.uri import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "bfs.run_key"
PENDING = "pending-"
_BATCH = 100  # MLflow's limit for parameters and tags in one request
_DIGEST_CHARS = 36  # MLflow's limit; the whole hash stands in the source
_RETRIED_STATUS = (401, 403, 408, 429)


class RunNotYetKnown(Exception):
    """The run was started while the server was away and its creator has not delivered it so far."""


def is_outage(error: BaseException) -> bool:
    """Whether trying again later may help: no connection, no answer, no permission, a fault of the server; not a refused value."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return status >= 500 or status in _RETRIED_STATUS
    return isinstance(error, OSError | RunNotYetKnown) or type(error).__module__.startswith(("sqlalchemy", "requests", "urllib3"))


def deliver(client: "MlflowClient", run_id: str, event: Event) -> str:
    """Apply one event. Returns the run's id, which `start` learns. Raises whatever MLflow or the network raises."""
    if event["op"] == "start":
        return _start(client, event)
    if run_id.startswith(PENDING):
        run_id = find_run(client, run_id.removeprefix(PENDING))
    _OPERATIONS[event["op"]](client, run_id, event)
    return run_id


def find_run(client: "MlflowClient", key: str) -> str:
    """The id of the run that carries `key`. Raises `RunNotYetKnown` when there is none."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if not found:
        raise RunNotYetKnown(f"no run carries the key {key} yet")
    return str(found[0].info.run_id)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested dictionaries as MLflow parameters: `{"a": {"b": 1}}` becomes `{"a.b": "1"}`; lists and null as JSON."""
    out: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return out


def safe_key(name: str) -> str:
    """`name` with the characters that MLflow refuses in metric and image keys replaced by `_`."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def _start(client: "MlflowClient", event: Event) -> str:
    experiment = experiment_id(client, event["experiment"])
    try:
        run_id = find_run(client, event["key"])
    except RunNotYetKnown:
        run = client.create_run(experiment, event["time_ms"], {**event["tags"], KEY_TAG: event["key"]}, event["name"])
        run_id = run.info.run_id
    _log_params(client, run_id, event)
    if event["inputs"]:
        client.log_inputs(run_id, [_dataset_input(manifest) for manifest in event["inputs"]])
    return run_id


def _dataset_input(manifest: dict[str, Any]) -> Any:
    """A manifest as an MLflow dataset: digest = start of the content hash, source = kind, whole hash and body."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind, body = str(manifest.get("kind", "dataset")), manifest.get("body", {})
    source = {"kind": kind, "content_hash": manifest["content_hash"], "body": body}
    if len(json.dumps(source)) > 60_000:  # MLflow's limit is 64 KiB; the manifest itself can be found by its hash
        source["body"] = {}
    dataset = Dataset(
        name=str(body.get("name") or (body.get("stage") and f"{kind}-stage{body['stage']}") or kind),
        digest=manifest["content_hash"][:_DIGEST_CHARS],
        source_type="bfs-manifest",
        source=json.dumps(source),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", kind)])


def _log_params(client: "MlflowClient", run_id: str, event: Event) -> None:
    from mlflow.entities import Param

    params = [Param(safe_key(key), value[:6000]) for key, value in event["params"].items()]
    for start in range(0, len(params), _BATCH):
        client.log_batch(run_id, params=params[start : start + _BATCH], synchronous=True)


def _log_metrics(client: "MlflowClient", run_id: str, event: Event) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(safe_key(key), value, event["time_ms"], event["step"]) for key, value in event["values"].items()]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH], synchronous=True)


def _log_tags(client: "MlflowClient", run_id: str, event: Event) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event["tags"].items()], synchronous=True)


def _log_image(client: "MlflowClient", run_id: str, event: Event) -> None:
    from PIL import Image

    with Image.open(event["file"], formats=("PNG",)) as image:
        image.load()
        client.log_image(run_id, image, key=safe_key(event["key"]), step=event["step"], timestamp=event["time_ms"], synchronous=True)


def _log_artifact(client: "MlflowClient", run_id: str, event: Event) -> None:
    path = Path(event["file"])
    if path.is_dir():
        client.log_artifacts(run_id, str(path), event["folder"] or None)
    else:
        client.log_artifact(run_id, str(path), event["folder"] or None)


def _log_text(client: "MlflowClient", run_id: str, event: Event) -> None:
    client.log_text(run_id, event["text"], event["path"])


def _finish(client: "MlflowClient", run_id: str, event: Event) -> None:
    client.set_terminated(run_id, event["status"], event["time_ms"])


_OPERATIONS = {
    "params": _log_params,
    "metrics": _log_metrics,
    "tags": _log_tags,
    "image": _log_image,
    "artifact": _log_artifact,
    "text": _log_text,
    "finish": _finish,
}
