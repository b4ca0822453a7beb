"""What is known of a stack between two commands: its settings, its ports, its secrets and its processes, in its folder."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.cluster.connection import LONGEST_DIRECTORY
from bfs_platform.config.spec import Spec
from bfs_platform.console.screen import say
from bfs_platform.processes import free_port
from bfs_platform.stack.marked import Started

PORTS = {"service": 8000, "mlflow": 5000, "dashboard": 8265, "ray": 6379, "prometheus": 9090, "postgres": 5432, "objects": 8333}
PROFILES = ("minimal", "full")
MAX_WORKERS = 16
_HIGHEST = 65535
_FILE, _KEPT = "stack.json", "settings.json"


class Settings(Spec):
    """What a stack is. `model`: what is served; empty for the registry's champion, or the embedded model while there is none.
    `workers`: nodes of the Ray cluster beside its head, each a process of this machine."""

    profile: Literal["minimal", "full"] = "minimal"
    model: str = ""
    workers: int = Field(default=0, ge=0, le=MAX_WORKERS)
    ports: dict[str, int] = Field(default_factory=lambda: dict(PORTS))

    def changed(self, profile: str | None, model: str | None, ports: list[str] | None, workers: int | None = None) -> "Settings":
        """A copy with what is given; `ports` as NAME=PORT. Raises `BadInput`."""
        if profile not in (None, *PROFILES):
            raise BadInput("profile", profile, "is not known", f"use one of {', '.join(PROFILES)}")
        if workers is not None and not 0 <= workers <= MAX_WORKERS:
            raise BadInput("workers", workers, "is not a number of nodes for one machine", f"choose 0 to {MAX_WORKERS}")
        numbers = dict(self.ports)
        for text in ports or []:
            name, _, number = text.partition("=")
            if name not in PORTS:
                raise BadInput("port", text, "names no port of the stack", f"give NAME=PORT with a name of {', '.join(PORTS)}")
            if not number.isdecimal() or not 1 <= int(number) <= _HIGHEST:
                raise BadInput("port", text, "is not a port", f"choose one from 1 to {_HIGHEST}")
            numbers[name] = int(number)
        if len(set(numbers.values())) < len(numbers):
            raise BadInput("port", " ".join(ports or []), "is given to two parts", "give each its own")
        chosen = {"profile": profile or self.profile, "model": self.model if model is None else model, "ports": numbers}
        return Settings.model_validate(chosen | {"workers": self.workers if workers is None else workers})


@dataclass(frozen=True)
class Record:
    """What was started: the process, and the version that was installed then."""

    started: Started
    version: str
    at_s: float


class Stack:
    """A folder and what it says. `inner`: ports that nobody needs to know, by name; `records`: by part."""

    def __init__(self, folder: Path, settings: Settings, mark: str, inner: dict[str, int], records: dict[str, Record]) -> None:
        self.folder, self.settings, self.mark, self.inner, self.records = folder, settings, mark, inner, records
        self.secrets = _secrets(folder)

    @classmethod
    def load(cls, folder: Path) -> "Stack | None":
        """The stack of a folder; None where there is none. Raises `BadInput` for a file that is not ours."""
        try:
            found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            records = {name: Record(Started(**r.pop("started")), **r) for name, r in found["records"].items()}
            return cls(folder, Settings.model_validate(found["settings"]), found["mark"], found["inner"], records)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, ValidationError):
            raise BadInput("state", folder / _FILE, "does not describe a stack", "remove it, or choose another --state") from None

    @staticmethod
    def last_settings(folder: Path) -> Settings:
        """Those of the last stack of a folder, and the defaults where there was none."""
        try:
            return Settings.model_validate_json((folder / _KEPT).read_bytes())
        except (OSError, ValidationError):
            return Settings()

    @classmethod
    def new(cls, folder: Path, settings: Settings) -> "Stack":
        """A stack that nobody has started yet."""
        return cls(folder, settings, secrets.token_hex(8), {}, {})

    def save(self) -> None:
        """Write everything down, whole."""
        records = {name: asdict(record) for name, record in self.records.items()}
        text = json.dumps({"settings": self.settings.model_dump(), "mark": self.mark, "inner": self.inner, "records": records}, indent=1)
        write_whole(self.folder / _FILE, text.encode(), key="state")

    def forget(self) -> None:
        """Nothing of it runs any more: what is left are its data, logs, secrets and settings."""
        try:
            write_whole(self.folder / _KEPT, self.settings.model_dump_json(indent=1).encode(), key="state")
        except OSError as error:
            say(f"The settings could not be kept ({error.strerror}): the next start takes earlier ones, or the defaults.")
        (self.folder / _FILE).unlink(missing_ok=True)

    def url(self, part: str) -> str:
        """Where a part answers over HTTP."""
        return f"http://127.0.0.1:{self.settings.ports[part]}"

    def inner_port(self, name: str) -> int:
        """A port that nobody else needs to know: PART/WHAT. It was free when it was asked for first."""
        if name not in self.inner:
            self.inner[name] = free_port()
        return self.inner[name]

    def renew_ports(self) -> None:
        """Forget inner ports of parts that do not run: somebody else may listen there by now."""
        alive = {name for name, record in self.records.items() if record.started.runs}
        self.inner = {name: port for name, port in self.inner.items() if name.partition("/")[0] in alive}

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def home(self) -> Path:
        """The `BFS_HOME` of its programs."""
        return self.folder / "home"

    @property
    def ray_folder(self) -> Path:
        """Ray's sessions; beside the folder's own place where that is too deep for the names of sockets."""
        wanted = self.folder / "ray"
        return wanted if len(str(wanted).encode()) <= LONGEST_DIRECTORY else Path("/tmp") / f"bfs-{self.mark}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One command at a time works on a stack. Raises `BadInput` for another one at work, or a folder that cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BadInput("state", folder, f"cannot be made ({error.strerror})", "choose another folder") from None
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise BadInput("state", folder, "is being worked on by another bfs up or bfs down", "wait for it to end") from None


def _secrets(folder: Path) -> dict[str, str]:
    """What the parts know each other by. Kept when the stack ends: databases remember it."""
    path = folder / "secrets.json"
    if not path.exists():
        write_whole(path, json.dumps({name: secrets.token_hex(32) for name in ("ray", "postgres", "objects")}).encode(), key="state")
        path.chmod(0o600)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(value) for name, value in found.items()}
