"""Names of model versions, and questions to the registry whose failures are one clear line."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bfs_model.errors import BadInput
from bfs_platform.tracking.delivery import is_outage
from bfs_platform.tracking.uri import connect, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CONTENT_HASH = "content_hash"
MODEL_ID = "model_id"
_TRANSFER_TIMEOUT_S = "300"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}"
_REFERENCE = re.compile(rf"models:/(?P<name>{_NAME})(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[A-Za-z][A-Za-z0-9_\-]{{0,99}}))")


class Unreachable(BadInput):
    """The registry does not answer; asking later may help."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`models:/NAME/VERSION` or `models:/NAME@ALIAS`; exactly one of `version` and `alias` is set."""

    name: str
    version: str | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a reference. Raises `BadInput` for any other text."""
        match = _REFERENCE.fullmatch(uri)
        if match is None:
            raise BadInput("model", uri, "is not a model of the registry", "give models:/NAME/VERSION or models:/NAME@ALIAS")
        return cls(match["name"], match["version"], match["alias"])

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}" if self.version else f"models:/{self.name}@{self.alias}"


def is_reference(text: str) -> bool:
    """Whether `text` is meant for the registry."""
    return text.startswith("models:")


@contextmanager
def registry_errors(uri: str, key: str = "registry", value: object = None) -> Iterator[None]:
    """Turn what MLflow raises into `Unreachable` (outage) or `BadInput` (what was asked for does not exist or is refused)."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if is_outage(error) and type(error).__module__ != "builtins":  # plain OSErrors are about local files
            remedy = "check MLFLOW_TRACKING_URI and that the server runs"
            raise Unreachable("registry", uri, f"cannot be reached ({text})", remedy) from None
        if isinstance(error, MlflowException):
            missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
            rule = f"is not in the registry at {uri}" if missing else f"was refused: {text}"
            raise BadInput(key, value or uri, rule, "check the name, or register the model first") from None
        raise


@contextmanager
def transfer_timeout() -> Iterator[None]:
    """Weights take longer than a metric: MLflow reads its time limit from the environment at every request."""
    key = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(key)
    os.environ[key] = _TRANSFER_TIMEOUT_S
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = before


@dataclass(frozen=True, slots=True)
class Registry:
    """The model registry at `uri`."""

    uri: str
    client: "MlflowClient"

    @classmethod
    def open(cls, uri: str | None = None) -> Self:
        """Connect to the registry of this process, or at `uri`. Raises `BadInput` or `Unreachable`."""
        uri = uri or tracking_uri()
        with registry_errors(uri):
            return cls(uri, connect(uri))

    def find(self, reference: Reference) -> "ModelVersion":
        """The version that a reference names. Raises `BadInput` when model, version or alias does not exist."""
        with registry_errors(self.uri, "model", reference):
            if reference.version:
                return self.client.get_model_version(reference.name, reference.version)
            found = self._aliased(reference.name, str(reference.alias))
        if found is None:
            raise BadInput("model", reference, f"does not exist: no version carries the alias {reference.alias}", "promote one first")
        return found

    def aliased(self, name: str, alias: str) -> str | None:
        """The version that carries `alias`, or None. Raises `BadInput` when there is no model called `name`."""
        with registry_errors(self.uri, "model", name):
            found = self._aliased(name, alias)
        return None if found is None else str(found.version)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point `alias` to `version`."""
        with registry_errors(self.uri, "model", f"{name}@{alias}"):
            self.client.set_registered_model_alias(name, alias, version)

    def tag(self, name: str, version: str, tags: dict[str, Any]) -> None:
        """Set tags of a version."""
        with registry_errors(self.uri, "model", f"models:/{name}/{version}"):
            for key, value in tags.items():
                self.client.set_model_version_tag(name, version, key, str(value))

    def untag(self, name: str, version: str, keys: Iterable[str]) -> None:
        """Remove tags of a version."""
        with registry_errors(self.uri, "model", f"models:/{name}/{version}"):
            for key in keys:
                self.client.delete_model_version_tag(name, version, key)

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Tags of a version."""
        return dict(self.find(Reference(name, version=version)).tags)

    def _aliased(self, name: str, alias: str) -> "ModelVersion | None":
        version = self.client.get_registered_model(name).aliases.get(alias)
        return None if version is None else self.client.get_model_version(name, str(version))
