"""A BFS service, asked from a program that brings its own Python: the standard library alone, Python 3.8 and later."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Callable
from urllib.parse import urlsplit

_PASSING = (408, 429, 502, 503, 504)
_ENDS = ("succeeded", "failed", "canceled")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANSWER_S, _LOOK_S, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 0.3, 0.25, 5.0
# Somebody who starts a job wants to know soon that there is no service; a job under way outlasts a restart of it.
_START_PATIENCE_S, _FOLLOW_PATIENCE_S = 10.0, 60.0


class ServiceError(Exception):
    """What went wrong, as a sentence for people."""


class Service:
    """The service at `url`. `key`: an API key, where the operator gives some; it goes to this address alone.

    What passes (a busy service, a restart) is waited out for a while. `pause(seconds)` waits; what it raises ends the request and
    cancels its job.
    """

    def __init__(self, url: str, key: str = "", pause: Callable[[float], Any] = time.sleep) -> None:
        try:
            parts = urlsplit(url.strip())
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            raise ServiceError(f"{url!r} is not an http address; give one such as http://127.0.0.1:8000")
        if not (key.isascii() and key.isprintable()):
            raise ServiceError("The key holds other characters than printable ASCII; copy it anew")
        self.url, self._key, self._pause = url.strip().rstrip("/"), key.strip(), pause
        # This machine is reached without a proxy; what a service answers may be somebody's address, and the key is not theirs.
        proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
        self._opener = urllib.request.build_opener(proxies, _NoRedirects)

    def models(self) -> list[dict[str, Any]]:
        """What is served: name, version, state, capabilities."""
        found = _parsed(self._ask("GET", "/v1/models")).get("models")
        if not isinstance(found, list):
            raise ServiceError(f"{self.url} lists no models; it may not be a BFS service")
        return found

    def make(
        self,
        kind: str,
        files: Mapping[str, bytes],
        fields: Mapping[str, Any],
        watch: Callable[[dict[str, Any]], Any] = lambda job: None,
    ) -> dict[str, Any]:
        """Start a job (layers, extractions, documents, exports) and follow it to its end; returns the finished job.

        `watch` sees it each time it is looked at: status, queue_position, progress. Whatever ends this call cancels the job.
        """
        body = {name: base64.b64encode(data).decode() for name, data in files.items()}
        body.update({name: value for name, value in fields.items() if value is not None})
        request = ("POST", f"/v1/{kind}", json.dumps(body).encode(), secrets.token_hex(16))
        job: dict[str, Any] = {}
        try:
            job = _parsed(self._ask(*request))
            while job["status"] not in _ENDS:
                watch(job)
                self._pause(_LOOK_S)
                job = _parsed(self._ask("GET", f"/v1/jobs/{job['id']}", patience_s=_FOLLOW_PATIENCE_S))
        except BaseException:
            with contextlib.suppress(OSError, http.client.HTTPException, ServiceError):
                # Whether a request arrived whose answer did not is not known: the key says which job it became.
                job = job or _parsed(self._once(*request))
                self._once("DELETE", f"/v1/jobs/{job['id']}")
            raise
        if job["status"] == "succeeded":
            return job
        raise ServiceError(_said(job.get("problem") or {}) or f"The job was {job['status']}")

    def result(self, job: Mapping[str, Any], format: str, candidate: int = 0) -> bytes:
        """A finished job's result as a file: json, png, psd, ora or zip."""
        path = f"/v1/jobs/{job['id']}/result?format={format}&candidate={candidate}"
        return self._ask("GET", path, patience_s=_FOLLOW_PATIENCE_S)

    def _ask(self, method: str, path: str, body: bytes | None = None, key: str = "", patience_s: float = _START_PATIENCE_S) -> bytes:
        """The answer to a request, which is sent again while there is hope. Raises `ServiceError`."""
        until, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            asked_s = 0.0
            try:
                return self._once(method, path, body, key)
            except urllib.error.HTTPError as error:
                problem = _problem(error)
                failure = ServiceError(_said(problem) or f"{self.url} answered {error.code}; it may not be a BFS service")
                asked_s = _seconds(error.headers.get("Retry-After"))
                passes = error.code in _PASSING
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                failure, passes = ServiceError(f"{self.url} cannot be reached ({reason}); is the service running there?"), True
            wait_s = max(pause_s, asked_s)
            if not passes or time.monotonic() + wait_s > until:
                raise failure
            self._pause(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _once(self, method: str, path: str, body: bytes | None = None, key: str = "") -> bytes:
        headers = {"Accept": "application/json"}
        headers.update({"Content-Type": "application/json"} if body is not None else {})
        headers.update({"Idempotency-Key": key} if key else {})
        headers.update({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with self._opener.open(request, timeout=_ANSWER_S) as answer:
            return answer.read()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *request: Any) -> None:
        return None


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceError("The answer is no JSON; this may not be a BFS service")
    return found


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """The problem document (RFC 9457) of an answer, empty where there is none."""
    with contextlib.suppress(OSError, http.client.HTTPException, ServiceError), error:
        if error.headers.get("Content-Type", "").startswith("application/problem+json"):
            return _parsed(error.read())
    return {}


def _said(problem: Mapping[str, Any]) -> str:
    """What a problem document says to people, empty where it says nothing."""
    return str(problem.get("detail") or problem.get("title") or "")


def _seconds(given: str | None) -> float:
    return float(given) if given and given.isdecimal() and len(given) < 6 else 0.0
