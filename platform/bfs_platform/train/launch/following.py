"""What people see of a training run: five figures of the newest line that the run wrote about itself.

The run may be anywhere in a cluster; its folder is seen from here too, or it could not be started.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bfs_platform.console.progress import Progress, progress
from bfs_platform.train.report.reporting import LOSSES

_EVERY_S = 1.0
_TAIL = 1 << 14  # bytes: the newest line, and more


@contextlib.contextmanager
def following(output: Path, label: str, num_steps: int) -> Iterator[None]:
    """Show steps done, steps per second, time left, loss, gradient norm and learning rate while the block runs."""
    losses, ended = output / LOSSES, threading.Event()
    before = _stamp(losses)  # lines of an earlier start are not news

    def poll(shown: Progress) -> None:
        nonlocal before
        if (now := _stamp(losses)) != before and (line := newest(losses)):
            before = now
            shown(int(line["step"]), note=figures(line))

    def watch(shown: Progress) -> None:
        while not ended.wait(_EVERY_S):
            poll(shown)

    with progress(label, num_steps, "steps") as shown:
        thread = threading.Thread(target=watch, args=(shown,), name="following", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        poll(shown)
        shown.done = num_steps


def newest(losses: Path) -> dict[str, Any] | None:
    """The last whole line of a file of losses; None where there is none yet."""
    with contextlib.suppress(OSError, ValueError), losses.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        whole = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        return dict(json.loads(whole[-1])) if whole else None
    return None


def figures(line: dict[str, Any]) -> str:
    """Loss and the data set it is of, gradient norm, learning rate."""
    return f"loss {line['loss']:.4g} ({line['data']}), gradient norm {line['grad_norm']:.3g}, lr {line['lr']:.3g}"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
