"""HEAD, OPTIONS and the Allow header, for all routes alike (RFC 9110 §9.3.2, §9.3.7, §10.2.1)."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Methods:
    """ASGI middleware. A HEAD is answered as the GET would be, without its body; OPTIONS says what there is."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(scope)
        if scope["method"] == "OPTIONS" and allowed:
            headers = [(b"allow", ", ".join(allowed).encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        elif scope["method"] == "HEAD" and "GET" in allowed:
            await self._head({**scope, "method": "GET"}, receive, send)
        else:
            await self._app(scope, receive, _with_allow(send, allowed))

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the start of the GET's answer. A stream is told that its reader has left, as it has."""
        begun = False

        async def start_only(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                await send(message)
            elif not begun:
                begun = True
                await send({"type": "http.response.body", "body": b""})

        async def gone() -> Message:
            return {"type": "http.disconnect"} if begun else await receive()

        await self._app(scope, gone, start_only)

    def _allowed(self, scope: Scope) -> list[str]:
        """All methods of this path, in a fixed order; empty where there is nothing."""
        methods: set[str] = set()
        for route in self._routes:
            if route.matches({**scope, "method": "OPTIONS"})[0] != Match.NONE:
                methods |= getattr(route, "methods", None) or set()
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods | {"OPTIONS"}) if methods else []


def _with_allow(send: Send, allowed: list[str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405 and allowed:
            MutableHeaders(raw=message["headers"])["Allow"] = ", ".join(allowed)
        await send(message)

    return sending
