"""The `/metrics` endpoint."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from offhook.core.responses import Answer, method_not_allowed
from offhook.web.asgi import respond
from offhook.web.health import METHODS

Render = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Renders metrics for an Accept header; returns the body and its content type. Must not raise."""

_METHOD_NOT_ALLOWED: Final = method_not_allowed(METHODS)


class MetricsEndpoint:
    """Serves metrics; an ASGI application for `http` scopes.

    Args:
        render: see `Render`.
    """

    def __init__(self, render: Render) -> None:
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Respond 200 with the metrics."""
        if scope["method"] not in METHODS:
            await respond(send, _METHOD_NOT_ALLOWED)
            return
        body, content_type = await self._render(Headers(scope=scope).get("accept", ""))
        headers = (
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        )
        await respond(send, Answer(HTTPStatus.OK, "", headers, body))
