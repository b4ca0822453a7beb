"""One MLflow run, addressed by its id, from any process; a tracking server that is away never stops the work.

The fluent API of MLflow is bound to a thread and starts a new run in every restarted worker, so it is not used.
Each call is tried once, with a short time limit. When it fails for an outage, it goes to a journal on disk, and so do all
later ones, in order; they are delivered by a later call (after a growing pause), by `flush` or by another process.
"""

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import psutil

from bfs_model.errors import BadInput
from bfs_platform.tracking.delivery import PENDING, deliver, flat, is_outage
from bfs_platform.tracking.journal import Event, Journal
from bfs_platform.tracking.uri import bfs_home, checked_uri, connect, tracking_uri

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Run:
    """A run in MLflow. Safe to use from several threads; each process attaches with its own buffer.

    No logging method raises because of MLflow: an outage is buffered, a value that MLflow refuses is dropped with a warning.
    """

    def __init__(self, run_id: str, uri: str, buffer_path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.run_id = self._attached_as = run_id
        self.uri = uri
        self._journal, self._clock = Journal(buffer_path), clock
        self._lock = threading.RLock()
        self._client: Any = None
        self._pause_s, self._not_before = _FIRST_PAUSE_S, float("-inf")

    @classmethod
    def start(
        cls,
        experiment: str,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        inputs: Sequence[dict[str, Any]] = (),
        *,
        uri: str | None = None,
        buffer_path: Path | None = None,
    ) -> Self:
        """Create a run.

        Args: `params` may be nested; `inputs` are manifests of what the run consumes and become its dataset inputs, with the
        content hash as digest. When the server is away, `run_id` starts with `pending-` and works in `attach` all the same.
        Raises: `BadInput` for a URI or an experiment that cannot be used.
        """
        key = uuid.uuid4().hex
        run = cls.attach(PENDING + key, uri, buffer_path)
        manifests = [{part: manifest[part] for part in ("kind", "content_hash", "body") if part in manifest} for manifest in inputs]
        event = {"op": "start", "key": key, "experiment": experiment, "name": name, "time_ms": _now_ms()}
        event |= {"params": flat(dict(params or {})), "tags": {k: str(v) for k, v in (tags or {}).items()}, "inputs": manifests}
        run._submit(event, refuse=True)
        return run

    @classmethod
    def attach(cls, run_id: str, uri: str | None = None, buffer_path: Path | None = None) -> Self:
        """Join a run that another process started. What an earlier process left in `buffer_path` is delivered first."""
        buffer_path = buffer_path or bfs_home() / "tracking" / f"{run_id}-{os.getpid()}.jsonl"
        return cls(run_id, checked_uri(uri) if uri else tracking_uri(), Path(buffer_path))

    def params(self, values: Mapping[str, Any]) -> None:
        """Add parameters; nested dictionaries become dotted names."""
        self._submit({"op": "params", "params": flat(dict(values))})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        self._submit({"op": "tags", "tags": {key: str(value) for key, value in values.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at one step."""
        numbers = {key: float(value) for key, value in values.items()}
        self._submit({"op": "metrics", "values": numbers, "step": int(step), "time_ms": _now_ms()})

    def image(self, image: "Image.Image", key: str, step: int) -> None:
        """Log an image under a key; MLflow shows the steps of a key behind a slider."""

        def copied() -> Event:
            path = self._journal.keep_file(".png")
            image.save(path)
            return {"op": "image", "key": key, "step": int(step), "time_ms": _now_ms(), "file": str(path), "kept": True}

        self._submit(copied)

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Upload a file, or what lies in a directory, to `folder` of the run's artifacts."""
        path = Path(path).absolute()
        if not path.exists():
            raise BadInput("artifact", path, "does not exist", "write it before logging it")
        self._submit({"op": "artifact", "file": str(path), "folder": folder})

    def text(self, text: str, path: str) -> None:
        """Write `text` to `path` among the run's artifacts."""
        self._submit({"op": "text", "text": text, "path": path})

    def finish(self, status: Status = "FINISHED", *, within_s: float = 15.0) -> bool:
        """Close the run and deliver what is left, also by processes of it that have ended on this machine.

        Returns: False when some of it is still in a journal after `within_s`. See `tracking.left_behind`.
        """
        self._submit({"op": "finish", "status": status, "time_ms": _now_ms()})
        return self.flush(within_s) == 0 and all(run.flush(within_s) == 0 for run in self._left_behind())

    def flush(self, within_s: float = 15.0) -> int:
        """Deliver the journal, trying again until `within_s` seconds are over. Returns the number of events left."""
        deadline = self._clock() + within_s
        with self._lock:
            while self._journal:
                self._not_before = float("-inf")
                try:
                    over = self._drain()
                except OSError as error:  # the journal cannot be written anew: it stays as it is, and what it holds is left
                    log.warning("MLflow's journal %s cannot be shortened: %s", self._journal.path, error)
                    break
                if over or self._clock() >= deadline:
                    break
                time.sleep(min(1.0, max(0.0, deadline - self._clock())))
            return len(self._journal.events())

    def _left_behind(self) -> list["Run"]:
        """The run as processes that have ended saw it, by the journals that they left."""
        journals = [path for name in {self._attached_as, self.run_id} for path in self._journal.path.parent.glob(f"{name}-[0-9]*.jsonl")]
        ended = [path for path in journals if (pid := path.stem.rpartition("-")[2]).isdigit() and not psutil.pid_exists(int(pid))]
        return [type(self)(self.run_id, self.uri, path, self._clock) for path in sorted(ended)]

    @property
    def num_buffered(self) -> int:
        """How many events wait in the journal."""
        return len(self._journal.events())

    def _submit(self, event: Event | Callable[[], Event], refuse: bool = False) -> None:
        """Deliver an event now, or queue it behind those that already wait."""
        with self._lock:
            try:
                made = event() if callable(event) else event
                if not self._journal and self._try(made, refuse):
                    self._journal.forget(made)
                else:
                    self._journal.append(self._self_contained(made) | {"uri": self.uri})
                    self._drain()
            except OSError as error:  # a full disk must not stop training either
                log.warning("Lost an event of run %s: %s", self.run_id, error)

    def _drain(self) -> bool:
        """Deliver waiting events in order until one fails. Returns whether none is left."""
        if self._clock() < self._not_before:
            return False
        events = self._journal.events()
        done = 0
        while done < len(events) and self._try(events[done]):
            done += 1
        if done or not events:
            self._journal.replace(events[done:], events[:done])
        return done == len(events)

    def _try(self, event: Event, refuse: bool = False) -> bool:
        """Deliver one event. Returns False in an outage; True when it is delivered or can never be."""
        if self._clock() < self._not_before:
            return False
        try:
            self._client = self._client or connect(self.uri)
            self.run_id = deliver(self._client, self.run_id, event)
        except Exception as error:  # MLflow raises many types; none of them may reach the training loop
            if is_outage(error):
                self._note_outage(error)
                return False
            if refuse:
                raise error if isinstance(error, BadInput) else BadInput("tracking", self.uri, _first_line(error)) from error
            log.warning("MLflow refused a %s event of run %s: %s", event["op"], self.run_id, _first_line(error))
        self._pause_s, self._not_before = _FIRST_PAUSE_S, float("-inf")
        return True

    def _note_outage(self, error: Exception) -> None:
        log.warning("MLflow at %s is away (%s); next try in %.0f s, buffering meanwhile", self.uri, _first_line(error), self._pause_s)
        self._not_before = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _self_contained(self, event: Event) -> Event:
        """Copy an artifact beside the journal: its original may be gone by the time it is delivered."""
        if event["op"] != "artifact":
            return event
        source, copy = Path(event["file"]), self._journal.keep_file("")
        copy.mkdir()
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        else:
            shutil.copy2(source, copy / source.name)
        return event | {"file": str(copy), "kept": True}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
