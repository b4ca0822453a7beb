"""Running `bfs` in this process, and a service that answers from a script."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bfs_platform.cli.main import app


@pytest.fixture
def bfs() -> Callable[..., Result]:
    """Run `bfs` with arguments; the result has `exit_code`, `stdout` and `stderr`. Errors of ours are raised, not hidden."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A background of 97 × 61 pixels, each of another colour."""
    rows, columns = np.indices((61, 97))
    pixels = np.stack([columns * 2, rows * 4, (rows + columns) % 256], axis=-1).astype(np.uint8)
    path = tmp_path / "room.png"
    Image.fromarray(pixels).save(path)
    return path


@dataclass
class Answer:
    """One scripted answer."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeService:
    """An HTTP server that gives scripted answers in order, the last one again and again, and remembers what it was asked."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def next(self) -> Answer:
        """The answer to the request that just came."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A running `FakeService` on the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.asked.append((self.command, self.path, dict(self.headers), body))
            answer = fake.next()
            self.send_response(answer.status)
            for name, value in ({"Content-Length": str(len(answer.content))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeService(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()
