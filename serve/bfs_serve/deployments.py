"""The three Serve deployments: ingress (HTTP), coordinator (jobs), sampler (model)."""

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from bfs_serve.backend import ServeBackend, ServeSampler
from bfs_serve.coordinator import Coordinator, Limits
from bfs_serve.ingress import create_app


@serve.ingress()
class Ingress:
    """Any number of replicas: validation, negotiation, files. Holds no state."""

    def __init__(self, coordinator: "DeploymentHandle[Any]", require_guard: bool) -> None:
        self._coordinator, self._require_guard = coordinator, require_guard

    def __serve_build_asgi_app__(self) -> Any:
        return create_app(ServeBackend(self._coordinator), require_guard=self._require_guard)


class CoordinatorDeployment(Coordinator):
    """One replica: the jobs. They are held in its memory and end with it."""

    def __init__(self, sampler: "DeploymentHandle[Any]", limits: Limits) -> None:
        super().__init__(ServeSampler(sampler), limits)
