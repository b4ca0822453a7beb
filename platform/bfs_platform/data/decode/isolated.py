"""Decoding in a child process with limits: a picture that crashes, hangs or bursts its decoder becomes an error of that picture.

The child is started once per worker process and used again for every picture, so that the price is two trips through a pipe.
"""

import atexit
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.images import LoadedImage, read_image
from bfs_platform.data.record import Reason, Reject
from bfs_platform.data.spec import DecoderSpec

# A crash may be the fault of something outside, such as the kernel's out-of-memory killer: one more try in a fresh child.
ATTEMPTS = 2
GRACE_S = 5.0
PIPE_BYTES = 2**20
_TOO_SLOW = (signal.SIGXCPU, signal.SIGALRM)

Answer = TypeVar("Answer")


class ReadImage(Protocol):
    """What `bfs_model.picture.images.read_image` does with bytes. Raises `BadInput` for a bad picture, `Reject` when its decoder died."""

    def __call__(self, source: bytes, *, key: str, max_pixels: int) -> LoadedImage: ...


class DecoderLost(Exception):
    """The child ended, or did not answer; `status` is its return code, None when it had to be stopped from outside."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        super().__init__(status)


class IsolatedReader:
    """`read_image` in a child process. Safe to call from several threads (one at a time) and after a fork."""

    def __init__(self, spec: DecoderSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def __call__(self, source: bytes, *, key: str, max_pixels: int) -> LoadedImage:
        """As `read_image`. Raises `Reject` (decoder_died, too_slow) when the picture took its decoder down."""
        return self._tried(lambda: self._image(source, key, max_pixels), key)

    def size(self, source: bytes, *, key: str, max_pixels: int) -> tuple[int, int]:
        """Width and height of a picture that was decoded whole; its pixels stay in the child. Raises as reading it does."""
        answer, _ = self._tried(lambda: self._ask(source, key, max_pixels, False), key)
        return answer["width"], answer["height"]

    def converted(self, source: bytes, *, key: str, max_pixels: int) -> bytes:
        """The file that a decoder which makes files makes of this one. Raises as reading a picture does."""
        return self._tried(lambda: bytes(self._ask(source, key, max_pixels, True)[1]), key)

    def _tried(self, ask: Callable[[], Answer], key: str) -> Answer:
        with self._lock:
            for attempt in range(ATTEMPTS):
                try:
                    return ask()
                except DecoderLost as lost:
                    self._abandon()
                    # CPU time does not depend on what else the machine is doing: no second try.
                    if attempt + 1 == ATTEMPTS or lost.status == -signal.SIGXCPU:
                        raise self._reject(key, lost) from None
                except BadInput:
                    raise
                except BaseException:  # the rest of the answer is still in the pipe: the next picture would get it
                    self._abandon()
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._abandon()

    def _image(self, source: bytes, key: str, max_pixels: int) -> LoadedImage:
        answer, data = self._ask(source, key, max_pixels, True)
        height, width = answer["height"], answer["width"]
        pixels = np.frombuffer(data, np.uint8)
        rgb = pixels[: height * width * 3].reshape(height, width, 3)
        return LoadedImage(rgb, pixels[rgb.size :].reshape(height, width) if answer["alpha"] else None)

    def _ask(self, source: bytes, key: str, max_pixels: int, pixels: bool) -> tuple[dict[str, Any], bytearray]:
        """The head of the answer, and the pixels where they are wanted."""
        deadline = time.monotonic() + self.spec.wall_s + GRACE_S
        child = self._running()
        assert child.stdin is not None and child.stdout is not None
        request = json.dumps({"key": key, "max_pixels": max_pixels, "bytes": len(source), "pixels": pixels}).encode() + b"\n"
        try:
            child.stdin.write(request)
            child.stdin.write(source)
            child.stdin.flush()
        except BrokenPipeError:
            raise DecoderLost(self._status()) from None
        answer, rest = self._line(child.stdout.fileno(), deadline)
        if "error" in answer:
            raise BadInput(*answer["error"])
        return answer, self._exactly(child.stdout.fileno(), _length(answer) if pixels else 0, rest, deadline)

    def _line(self, pipe: int, deadline: float) -> tuple[dict, bytes]:
        """The answer's first line, and what was read of the bytes behind it."""
        data = b""
        while b"\n" not in data:
            data += self._piece(pipe, PIPE_BYTES, deadline)
        line, _, rest = data.partition(b"\n")
        return json.loads(line), rest

    def _exactly(self, pipe: int, size: int, start: bytes, deadline: float) -> bytearray:
        data = bytearray(size)
        data[: len(start)] = start
        position = len(start)
        while position < size:
            piece = self._piece(pipe, min(PIPE_BYTES, size - position), deadline)
            data[position : position + len(piece)] = piece
            position += len(piece)
        return data

    def _piece(self, pipe: int, most: int, deadline: float) -> bytes:
        """The next bytes. Raises `DecoderLost` at the deadline and when the child has ended."""
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise DecoderLost(None)
        piece = os.read(pipe, most)
        if not piece:
            raise DecoderLost(self._status())
        return piece

    def _running(self) -> subprocess.Popen[bytes]:
        """The child, started when there is none, or when this process is a fork of the one that started it."""
        if self._child is None or self._owner != os.getpid():
            self._owner = os.getpid()
            command = [sys.executable, "-P", "-m", "bfs_platform.data.decode.child", self.spec.model_dump_json()]
            paths = os.pathsep.join(path for path in sys.path if path)
            environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            for pipe in (self._child.stdin, self._child.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):  # a user's share of pipe memory may be used up: slower, not wrong
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return self._child

    def _status(self) -> int | None:
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(timeout=GRACE_S)
        return None

    def _abandon(self) -> None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _reject(self, key: str, lost: DecoderLost) -> Reject:
        if lost.status is None or -lost.status in _TOO_SLOW:
            rule = f"was not decoded in {self.spec.cpu_s:g} s of computing or {self.spec.wall_s:g} s of waiting"
            return Reject(Reason.TOO_SLOW, f"{key} {rule}")
        how = signal.Signals(-lost.status).name if lost.status < 0 else f"exit code {lost.status}"
        return Reject(Reason.DECODER_DIED, f"{key} ends its decoder ({how})")


def _length(answer: dict[str, Any]) -> int:
    """How many bytes stand behind an answer."""
    return int(answer["bytes"]) if "bytes" in answer else answer["height"] * answer["width"] * (4 if answer["alpha"] else 3)


def reader_of(spec: DecoderSpec) -> ReadImage:
    """The way of reading pictures that a recipe names; one child per process and setting."""
    return _shared(spec) if spec.isolated else _here


@lru_cache(maxsize=4)
def _shared(spec: DecoderSpec) -> IsolatedReader:
    reader = IsolatedReader(spec)
    atexit.register(reader.close)
    return reader


def _here(source: bytes, *, key: str, max_pixels: int) -> LoadedImage:
    return read_image(source, key=key, max_pixels=max_pixels)
