"""Liveness and readiness checks."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.responses import ERROR_HEADER, Answer, Fault, method_not_allowed
from offhook.web.asgi import respond

# Below Kubernetes' default timeout of a probe, 1 s:
# https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
READY_TIMEOUT: Final = 0.8

REMEMBERED: Final = 0.5
"""Seconds for which a successful check is reused."""

METHODS: Final = ("GET", "HEAD")

Check = Callable[[], Awaitable[bool]]


def _text(status: int, text: bytes, *more: tuple[bytes, bytes]) -> Answer:
    headers = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
    )
    return Answer(status, "", (*headers, *more), text)


ALIVE: Final = b"alive\n"

_ALIVE: Final = _text(HTTPStatus.OK, ALIVE)
_READY: Final = _text(HTTPStatus.OK, b"ready\n")
_NOT_READY: Final = _text(
    HTTPStatus.SERVICE_UNAVAILABLE,
    b"nothing can be stored\n",
    (ERROR_HEADER, Fault.STORE_UNAVAILABLE.encode()),
)
_METHOD_NOT_ALLOWED: Final = method_not_allowed(METHODS)


class Health:
    """Serves a health check; an ASGI application for `http` scopes.

    Args:
        check: returns whether anything can be stored; raising or taking over 0.8 s means no.
            None for `/healthz`.
    """

    def __init__(self, check: Check | None = None) -> None:
        self._check = check
        self._asking: asyncio.Task[bool] | None = None
        self._ready_until = -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Respond 200 or 503, in plain text."""
        if scope["method"] not in METHODS:
            await respond(send, _METHOD_NOT_ALLOWED)
        elif self._check is None:
            await respond(send, _ALIVE)
        else:
            await respond(send, _READY if await self._is_ready(self._check) else _NOT_READY)

    async def _is_ready(self, check: Check) -> bool:
        """Run one check for concurrent requests: anyone may send them, and checks write to disk."""
        if time.monotonic() < self._ready_until:
            return True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(_passes(check), name="readiness")
        ready = await asyncio.shield(self._asking)
        if ready:
            self._ready_until = time.monotonic() + REMEMBERED
        return ready


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            return await check()
    except Exception:  # noqa: BLE001 - whatever it is, we are not ready
        return False
