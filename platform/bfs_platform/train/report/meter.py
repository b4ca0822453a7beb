"""What an operator wants to know of a running training: seconds, samples and FLOP per second, memory."""

import contextlib
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.task import Task


class Meter:
    """Measures the steps between two reports, in wall-clock seconds of this rank. Means: a median would hide stalls."""

    def __init__(self, wrapped: Any, task: Task, spec: TrainSpec, world_size: int) -> None:
        self._spec, self._world_size = spec, world_size
        flops = getattr(task, "flops_per_sample", None)
        self._flops_per_step = spec.batch_size * float(flops()) if flops else 0.0
        self._last_checkpoint_s: float | None = None
        self._missed_checkpoints = 0
        self._restart()

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Counts as time in which the accelerator waits for its next batch."""
        began = time.perf_counter()
        yield
        self._data_s += time.perf_counter() - began

    @contextlib.contextmanager
    def checkpointing(self) -> Iterator[None]:
        """Counts as time in which training waits for a checkpoint; it is not part of the steps."""
        began = time.perf_counter()
        yield
        self._last_checkpoint_s = time.perf_counter() - began
        self._outside_s += self._last_checkpoint_s

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Counts as time spent on pictures, which is not part of the steps."""
        began = time.perf_counter()
        yield
        self._outside_s += time.perf_counter() - began

    def checkpoints_missed(self, number: int) -> None:
        """Count checkpoints that could not be written."""
        self._missed_checkpoints += number

    def step_done(self) -> None:
        """Count a step."""
        self._steps += 1

    def values(self) -> dict[str, float]:
        """Means over the steps since the last call, by name; units stand in the names."""
        elapsed = max(time.perf_counter() - self._began - self._outside_s, 1e-9)
        step_s = elapsed / self._steps
        values = {
            "step_s": step_s,
            "data_wait_s": self._data_s / self._steps,
            "samples_per_s": self._spec.batch_size / step_s,
            "num_workers": float(self._world_size),
            "memory_bytes": float(peak_memory_bytes()),
            "missed_checkpoints": float(self._missed_checkpoints),
        }
        if self._flops_per_step:
            values["tflops_per_worker"] = self._flops_per_step / step_s / self._world_size / 1e12
        if self._last_checkpoint_s is not None:
            values["checkpoint_s"] = self._last_checkpoint_s
        self._restart()
        return values

    def _restart(self) -> None:
        self._began, self._data_s, self._outside_s, self._steps = time.perf_counter(), 0.0, 0.0, 0


def peak_memory_bytes() -> int:
    """The most memory this process has held so far: of its accelerator, or of the host where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def system_values(output: Path) -> dict[str, float]:
    """State of the machine that rank 0 runs on, under MLflow's names for system metrics."""
    import psutil

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(output)
    values = {
        "system/cpu_utilization_percentage": float(psutil.cpu_percent()),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/disk_available_megabytes": disk.free / 1e6,
    }
    if torch.cuda.is_available():
        free, limit = torch.cuda.mem_get_info()
        values["system/gpu_0_memory_usage_megabytes"] = (limit - free) / 1e6
    return values
