"""The numbers of a training run for Prometheus, through Ray's metrics agent: each appears there with `ray_` before its name."""

import sys
from typing import Any

# Name of a value that the loop reports: name and description of its gauge. Values without one go to MLflow only.
GAUGES = {
    "loss": ("bfs_train_loss", "Loss of the last reported step."),
    "lr": ("bfs_train_learning_rate", "Learning rate."),
    "grad_norm": ("bfs_train_gradient_norm", "Norm of the gradient before clipping."),
    "step_s": ("bfs_train_step_seconds", "Mean seconds per step."),
    "data_wait_s": ("bfs_train_data_wait_seconds", "Mean seconds per step spent waiting for data."),
    "samples_per_s": ("bfs_train_samples_per_second", "Samples per second over all workers."),
    "tflops_per_worker": ("bfs_train_tflops_per_worker", "Achieved TFLOP per second and worker."),
    "memory_bytes": ("bfs_train_memory_bytes", "Peak memory of rank 0."),
    "num_workers": ("bfs_train_workers", "Workers in the group."),
    "checkpoint_s": ("bfs_train_checkpoint_seconds", "Seconds of the last checkpoint."),
    "missed_checkpoints": ("bfs_train_missed_checkpoints", "Checkpoints that could not be written since the start."),
    "step": ("bfs_train_step", "Steps done."),
}
_TAGS = ("recipe", "output")


class Gauges:
    """Gauges of one run on rank 0. Silent where no Ray cluster is."""

    def __init__(self, recipe: str, output: str) -> None:
        self._tags = dict(zip(_TAGS, (recipe, output), strict=True))
        self._gauges: dict[str, Any] = {}
        if _in_cluster():
            from ray.util.metrics import Gauge

            self._gauges = {value: Gauge(name, description, tag_keys=_TAGS) for value, (name, description) in GAUGES.items()}

    def show(self, values: dict[str, float]) -> None:
        """Set the gauges of all values that have one."""
        for name, gauge in self._gauges.items():
            if name in values:
                gauge.set(values[name], tags=self._tags)


def _in_cluster() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
