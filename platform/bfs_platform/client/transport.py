"""Asking the service, patiently: what passes is waited out, what does not becomes an error that says what to do."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from bfs_model.errors import BadInput
from bfs_platform.client.errors import PASSING, ServiceError, of_answer, raised, unreachable
from bfs_platform.proxies import check_proxy, goes_direct

OnWait = Callable[[str], None]

_EXAMPLE = "for example http://127.0.0.1:8000"
# A read outlasts whatever the service grants; events bring a sign of life every 15 s.
_ASK = httpx2.Timeout(10.0, read=330.0, write=120.0)
_FOLLOW = httpx2.Timeout(10.0, read=60.0)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0


class Patience:
    """How long one wish is asked for again: pauses double, and end when they add up to `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin anew: the service is there."""
        self._until, self._pause_s = time.monotonic() + self._seconds, _FIRST_PAUSE_S

    def pause_s(self, asked_s: float = 0.0) -> float | None:
        """How long to wait before the next try, at least what the service asks for; None when it is no use."""
        pause_s = max(self._pause_s, asked_s) + random.random() * 0.1 * self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s if time.monotonic() + pause_s <= self._until else None


class Transport:
    """One pool of connections to one service. `key` goes with every request, and to nobody else: redirects are not followed.

    `on_wait` is told why, each time that something is waited out. Raises `BadInput` for an address, key or proxy that cannot be used.
    """

    def __init__(
        self, url: str, key: str | None, patience_s: float, on_wait: OnWait | None, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self.url = _checked(url)
        check_proxy(self.url, "httpx2")
        self._patience_s = patience_s
        self._on_wait: OnWait = on_wait or (lambda reason: None)
        settings: dict[str, Any] = {"headers": _authorization(key), "timeout": _ASK, "transport": transport}
        try:
            # The client would prepare all proxies, also when it needs none.
            self._client = httpx2.AsyncClient(base_url=self.url, trust_env=not goes_direct(self.url), **settings)
        except httpx2.InvalidURL as error:
            raise BadInput("url", url, f"is not an http address ({error})", _EXAMPLE) from None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    def patience(self) -> Patience:
        """For one wish."""
        return Patience(self._patience_s)

    async def ask(self, method: str, path: str, **settings: Any) -> httpx2.Response:
        """The answer to a request that may be sent again. Raises `BadInput` for what is refused, else `ServiceError`."""
        patience = self.patience()
        while True:
            asked_s = 0.0
            try:
                answer = await self._client.request(method, self._here(path), **settings)
            except httpx2.HTTPError as error:
                failure: Exception = unreachable(error, self.url)
            else:
                if answer.status_code not in PASSING:
                    return raised(answer, self.url)
                failure, asked_s = of_answer(answer, self.url), _retry_after_s(answer)
            await self.wait(patience, failure, asked_s)

    @asynccontextmanager
    async def follow(self, path: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
        """An answer that is read as it comes; nothing is tried again. Raises `httpx2.HTTPError`, and what `ask` raises."""
        async with self._client.stream("GET", self._here(path), headers=headers, timeout=_FOLLOW) as answer:
            if answer.status_code >= 300:
                await answer.aread()
            yield answer

    async def wait(self, patience: Patience, failure: Exception, asked_s: float = 0.0) -> None:
        """Pause before another try; raises `failure` when patience is over."""
        pause_s = patience.pause_s(asked_s)
        if pause_s is None:
            raise failure
        self._on_wait(str(failure))
        await asyncio.sleep(pause_s)

    def refusal(self, answer: httpx2.Response) -> tuple[Exception, float | None]:
        """The error that an answer means, and the seconds it asks to wait before another try; None where none is any use."""
        return of_answer(answer, self.url), _retry_after_s(answer) if answer.status_code in PASSING else None

    def _here(self, path: str) -> str:
        # What a service answers may be somebody's address, and our key is not theirs.
        if not path.startswith("/") or path.startswith("//"):
            raise ServiceError(f"url={self.url} sent us to another place, {path[:200]}")
        return path


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that are not of an IPv6 address
        known = False
    if not known:
        raise BadInput("url", url, "is not an http address", _EXAMPLE)
    return url.rstrip("/")


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise BadInput("BFS_API_KEY", "<hidden>", "holds other characters than printable ASCII", "copy the key anew")
    return {"Authorization": f"Bearer {key}"}


def _retry_after_s(answer: httpx2.Response) -> float:
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() and len(given) < 6 else 0.0
