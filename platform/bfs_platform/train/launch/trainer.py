"""Ray Train's trainer, without the part that only works beside a dashboard."""

from typing import Any

import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback


class Trainer(TorchTrainer):
    """`TorchTrainer` on any cluster of ours.

    Ray Train starts an actor that gives a run's CPUs and GPUs back when its controller was killed. It asks the dashboard
    once a second whether the controller lives, on the newest cluster of the machine that has one. A private cluster has none,
    and needs no such actor: it ends with its driver. There it would complain once a second, or ask another cluster, where
    nobody knows the controller, and end the run.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # its stubs are those of the first version
        return [callback for callback in callbacks if has_dashboard() or not isinstance(callback, PlacementGroupCleanerCallback)]


def has_dashboard() -> bool:
    """Whether the cluster that this process is connected to answers questions about its actors."""
    return bool(ray._private.worker.get_dashboard_url())
