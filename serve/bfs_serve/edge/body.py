"""Reading a request body within limits of size, of speed and of memory."""

import asyncio
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from bfs_serve.problems import Problem


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`max_bytes` of one body (64 MiB of picture as a file, 48 in base64); all bodies being read together; the slowest sender served."""

    max_bytes: int = 65 * 2**20
    max_buffered_bytes: int = 256 * 2**20
    grace_s: float = 10.0
    min_bytes_per_s: int = 32 * 1024


class BodyRefused(Exception):
    """The body is not taken; `problem` is None when the client left."""

    def __init__(self, problem: Problem | None) -> None:
        self.problem = problem
        super().__init__()


class BufferBudget:
    """Bytes of bodies held at this moment."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held = max_bytes, 0

    def reserve(self, num_bytes: int) -> None:
        if self.held + num_bytes > self.max_bytes:
            raise BodyRefused(Problem("busy", "Too many uploads are under way; try again in 2 s.", retry_after_s=2))
        self.held += num_bytes

    def let_go(self, num_bytes: int) -> None:
        self.held -= num_bytes


async def read_body(headers: Headers, receive: Receive, limits: BodyLimits, budget: BufferBudget) -> bytes | None:
    """The whole body, or None when the request announces none. Raises `BodyRefused`."""
    announced = _announced(headers)
    if announced == 0:
        return None
    if announced is not None and announced > limits.max_bytes:
        raise BodyRefused(_too_large(limits))
    chunks: list[bytes] = []
    size, begin = 0, time.monotonic()
    try:
        while True:
            # A sender has a grace period, and then as long as its bytes so far have earned.
            left_s = limits.grace_s + size / limits.min_bytes_per_s - (time.monotonic() - begin)
            try:
                async with asyncio.timeout(max(left_s, 0)):
                    message = await receive()
            except TimeoutError:
                raise BodyRefused(Problem("request-timeout", "The body did not arrive in time.", headers={"Connection": "close"})) from None
            if message["type"] != "http.request":
                raise BodyRefused(None)
            chunk = message.get("body", b"")
            if size + len(chunk) > limits.max_bytes:
                raise BodyRefused(_too_large(limits))
            budget.reserve(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
    finally:
        budget.let_go(size)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Give the buffered body once, then what the server says (the client's disconnection)."""
    waiting: list[bytes] = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def no_body(receive: Receive) -> Receive:
    """As if no body had been sent; what the server says of the connection still comes through."""
    empty: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receiving() -> Message:
        if empty:
            return empty.pop()
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receiving


def _announced(headers: Headers) -> int | None:
    """Bytes announced; 0 for no body, None when the length is not known beforehand."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return None
    return int(length) if len(length) < 18 else 10**18


def _too_large(limits: BodyLimits) -> Problem:
    detail = f"The body is larger than {limits.max_bytes / 2**20:g} MiB; scale the picture down or save it as JPEG or WebP."
    return Problem("too-large", detail, headers={"Connection": "close"})
