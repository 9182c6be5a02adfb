"""One connection of the generator: write a request, read a status, and little else."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from offhook.bench.requests import SignedRequest
from offhook.bench.results import Results
from offhook.bench.target import Target

IDLE_LIMIT: Final = 2.0
"""Seconds after which an idle connection is replaced: uvicorn closes them after 5 s, and a request
must not meet that moment."""
_REFUSED_PAUSE: Final = 0.05  # seconds; without it, a refused connection would be a busy loop
_BODILESS: Final = frozenset({204, 304})


class LoadConnection(asyncio.Protocol):
    """Send one request at a time, connecting as needed.

    Args:
        target: the server.
        results: counts the responses.
        free: called with this connection when it can send the next request.
        fresh: make a new connection for each request.
        stale: seconds after which an idle connection is replaced.
    """

    __slots__ = (
        "_buffer",
        "_connecting",
        "_due",
        "_free",
        "_fresh",
        "_request",
        "_results",
        "_stale",
        "_target",
        "_transport",
        "_used",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        results: Results,
        free: Callable[["LoadConnection"], None],
        *,
        fresh: bool = False,
        stale: float = IDLE_LIMIT,
    ) -> None:
        self._target = target
        self._results = results
        self._free = free
        self._fresh = fresh
        self._stale = stale
        self._transport: Any = None  # uvloop's transports are no asyncio.WriteTransport
        self._connecting: asyncio.Task[None] | None = None
        self._request: SignedRequest | None = None
        self._due = self._used = 0.0
        self._buffer = b""

    def send(self, request: SignedRequest, due: float) -> None:
        """Send a request; `due` is the `perf_counter` time at which it should have been sent."""
        self._request = request
        self._due = due
        if self._transport is not None and perf_counter() - self._used < self._stale:
            self._transport.write(request.data)
            return
        self._drop()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError: the connection failed.
        """
        await asyncio.get_running_loop().create_connection(
            lambda: self, self._target.host, self._target.port, ssl=self._target.context()
        )
        self._used = perf_counter()

    def close(self) -> None:
        """Count the request in flight as unanswered, and disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
        request, self._request = self._request, None
        if request is not None:
            self._results.abandon(request, perf_counter() - self._due)
        self._drop()

    async def _connect(self) -> None:
        try:
            await self.open()
        except OSError as error:
            await asyncio.sleep(_REFUSED_PAUSE)
            self._fail(type(error).__name__)
        else:
            if self._request is not None:
                self._transport.write(self._request.data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read a part of a response."""
        if self._buffer:
            data = self._buffer + data
        status, keeps = _read(data)
        if status is None or self._request is None:
            self._buffer = data
            return
        now = self._used = perf_counter()
        request, self._request, self._buffer = self._request, None, b""
        self._results.answer(request, status, now - self._due)
        if self._fresh or not keeps:
            self._drop()
        self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request in flight as failed."""
        self._transport = None
        if self._request is not None:
            self._fail(type(exc).__name__ if exc else "closed by the server")

    def _fail(self, reason: str) -> None:
        self._request, self._buffer = None, b""
        self._results.fail(reason)
        self._free(self)

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        self._buffer = b""
        if transport is not None:
            transport.set_protocol(asyncio.Protocol())  # ignores what still arrives
            transport.close()


def _read(data: bytes) -> tuple[int | None, bool]:
    """Return a response's status once it is complete, and whether its connection stays open.

    Understands short responses only: a Content-Length, chunks, or no body.
    """
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None, True
    head = head.lower()
    keeps = b"connection: close" not in head
    status = int(head[9:12])
    at = head.find(b"content-length:")
    if at >= 0:
        whole = len(body) >= int(head[at + 15 :].split(b"\r", 1)[0])
    elif b"transfer-encoding: chunked" in head:
        whole = body.endswith(b"0\r\n\r\n")
    else:
        whole = True
    return (status if whole or status in _BODILESS else None), keeps
