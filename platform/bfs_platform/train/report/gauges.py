"""The numbers of a training run that Prometheus sees."""

from bfs_platform.cluster.gauges import Gauges

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


def gauges_of(recipe: str, output: str) -> Gauges:
    """The gauges of one run, on rank 0."""
    return Gauges(GAUGES, {"recipe": recipe, "output": output})
