"""What ComfyUI lends to a node that runs inside it: its progress bar, its Cancel button, its output folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Callable


def watcher() -> Callable[[dict[str, Any]], None]:
    """Shows how far a job is, and raises when the user cancels; does nothing outside of ComfyUI."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted as check
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda job: None
    bars: dict[int, Any] = {}

    def watch(job: dict[str, Any]) -> None:
        check()
        if progress := job.get("progress"):
            steps = progress["steps"]
            bars.setdefault(steps, ProgressBar(steps)).update_absolute(progress["step"], steps)

    return watch


def save(data: bytes, prefix: str, suffix: str) -> Path:
    """Write a file into the output folder, under the first free number."""
    try:
        from folder_paths import get_output_directory

        folder = Path(get_output_directory())
    except ImportError:
        folder = Path("output")
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(prefix.replace("\\", "/")).name or "bfs"  # a workflow of somebody else must not choose the folder
    paths = (folder / f"{name}_{number:05d}{suffix}" for number in count(1))
    path = next(path for path in paths if not path.exists())
    path.write_bytes(data)
    return path
