"""A user's shell with a stack of its own."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
from nodes import free_port
from PIL import Image
from shells import BIN, bare_shell
from storm_service import NICENESS

from bfs_platform.stack.state import PORTS

PATIENCE_S = 1500
_PATIENCE = {"RAY_worker_register_timeout_seconds": str(PATIENCE_S)}
_OFTEN = {"RAY_metrics_report_interval_ms": "500"}  # jobs of seconds are to be seen at work
FIELDS = {"box": "8,4,40,28", "prompt": "a large red rubber sphere", "seed": "7", "steps": "2"}


class Shell:
    """A user's shell in the repository, with a stack in a folder of its own."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root, self.env = folder / "stack", root, bare_shell(folder) | NICENESS | _PATIENCE | _OFTEN
        self.ports = {name: free_port() for name in PORTS}

    def run(self, *command: str, code: int | None = 0, **variables: str) -> str:
        """Run a program of the environment to its end; its stdout."""
        environment = self.env | variables
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]], env=environment, cwd=self.root, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert code in (None, done.returncode), f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def up(self, *options: str) -> dict[str, Any]:
        """What runs, by part, after `bfs up`."""
        given = [word for name, port in self.ports.items() for word in ("--port", f"{name}={port}")]
        return _parts(self.run("bfs", "up", "--state", str(self.folder), "--json", *given, *options))

    def status(self, code: int) -> dict[str, Any]:
        """What `bfs status` says, by part."""
        return _parts(self.run("bfs", "status", "--state", str(self.folder), "--json", code=code))

    def ask(self) -> httpx2.Response:
        """A layer, drawn by the service."""
        with self.client() as client:
            answer = client.post("/v1/layers", files={"background": picture()}, data=FIELDS, headers={"Prefer": "wait=100"})
        assert answer.status_code == 200, answer.text
        return answer

    def client(self) -> httpx2.Client:
        """One of the service."""
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.ports['service']}", timeout=120, trust_env=False)

    def paste(self, text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run what a page prints, in the shell that the list of runbooks describes: up to the first command that fails."""
        script = ["bash", "-euo", "pipefail", "-c", text]
        return subprocess.run(script, env=environment, cwd=self.root, capture_output=True, text=True, timeout=PATIENCE_S)

    def told(self) -> dict[str, str]:
        """The variables that `. ENVIRONMENT` brings, as a shell reads them."""
        lines = subprocess.run(
            ["sh", "-ec", f". {self.folder}/environment; env -0"], env=self.env, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        return dict(line.split("=", 1) for line in lines if line)


def _parts(text: str) -> dict[str, Any]:
    return {part["name"]: part for part in json.loads(text)["parts"]}


def picture() -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(file, "PNG")
    return file.getvalue()
