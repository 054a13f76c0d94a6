"""What lies around every route: security headers, the count of requests, the body's limit, and errors nobody foresaw.

Plain ASGI, so that nothing here buffers an answer or starts a task for it.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway.metrics import Metrics
from workers.gateway.problems import of_fault, of_refusal

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Around:
    """The outermost layer: each answer leaves with our headers and is counted; an exception becomes a 500."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                self._metrics.count_request(_route(scope), scope["method"], message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            # Not handed on: the server would log it once more, and tell nobody anything new.
            answer = of_fault(scope["path"], error)
            if not has_begun:
                await answer(scope, receive, sending)


class BodyLimit:
    """Refuses bodies over the limit with 413: by their announced length, else once so much has been read."""

    def __init__(self, app: ASGIApp, *, max_kb: int) -> None:
        self._app = app
        self._max_bytes = max_kb * 1024
        self._sentence = f"The body is larger than {max_kb} kB, which max_body_kb of [gateway] allows."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            await of_refusal(scope["path"], self._too_large())(scope, receive, send)
            return
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, receiving, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._sentence, {"Connection": "close"})


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: ids would make a time series each."""
    return getattr(scope.get("route"), "path_format", "none")
