"""One connection of the generator: bytes out, a status back. As little else as can be."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from offhook.bench.requests import Shot
from offhook.bench.results import Tally
from offhook.bench.target import Target

STALE: Final = 2.0
"""Servers close connections that idle, uvicorn after 5 s: one is not used at that very moment."""
_REFUSED_PAUSE: Final = 0.05  # seconds: where nobody listens, asking is no load
_BODILESS: Final = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """Sends one request at a time, and connects when it has to.

    Args:
        target: the server.
        tally: is told what came back.
        free: is called with this connection when it may send the next.
        fresh: make a new connection for each request.
        stale: one that has idled for so many seconds is made anew.
    """

    __slots__ = (
        "_buffer", "_connecting", "_due", "_free", "_fresh", "_shot", "_stale", "_tally", "_target",
        "_transport", "_used",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        tally: Tally,
        free: Callable[["Connection"], None],
        *,
        fresh: bool = False,
        stale: float = STALE,
    ) -> None:
        self._target = target
        self._tally = tally
        self._free = free
        self._fresh = fresh
        self._stale = stale
        self._transport: Any = None  # uvloop's transports are no asyncio.WriteTransport
        self._connecting: asyncio.Task[None] | None = None
        self._shot: Shot | None = None
        self._due = self._used = 0.0
        self._buffer = b""

    def send(self, shot: Shot, due: float) -> None:
        """Send a request, which was due at a moment of `perf_counter`."""
        self._shot = shot
        self._due = due
        if self._transport is not None and perf_counter() - self._used < self._stale:
            self._transport.write(shot.data)
            return
        self._drop()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def open(self) -> None:
        """Connect before anything is sent.

        Raises:
            OSError: it can't.
        """
        await asyncio.get_running_loop().create_connection(
            lambda: self, self._target.host, self._target.port, ssl=self._target.context()
        )
        self._used = perf_counter()

    def close(self) -> None:
        """Count what is under way as unanswered, and disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
        shot, self._shot = self._shot, None
        if shot is not None:
            self._tally.abandon(shot, perf_counter() - self._due)
        self._drop()

    async def _connect(self) -> None:
        try:
            await self.open()
        except OSError as error:
            await asyncio.sleep(_REFUSED_PAUSE)
            self._fail(type(error).__name__)
        else:
            if self._shot is not None:
                self._transport.write(self._shot.data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        if self._buffer:
            data = self._buffer + data
        status, keeps = _read(data)
        if status is None or self._shot is None:
            self._buffer = data
            return
        now = self._used = perf_counter()
        shot, self._shot, self._buffer = self._shot, None, b""
        self._tally.answer(shot, status, now - self._due)
        if self._fresh or not keeps:
            self._drop()
        self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was under way as failed."""
        self._transport = None
        if self._shot is not None:
            self._fail(type(exc).__name__ if exc else "closed by the server")

    def _fail(self, reason: str) -> None:
        self._shot, self._buffer = None, b""
        self._tally.fail(reason)
        self._free(self)

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        self._buffer = b""
        if transport is not None:
            transport.set_protocol(asyncio.Protocol())  # what it still says is not for us
            transport.close()


def _read(data: bytes) -> tuple[int | None, bool]:
    """Return an answer's status once it is whole, and whether its connection stays open.

    Only what servers send to short answers is understood: a length, chunks, or no body.
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
