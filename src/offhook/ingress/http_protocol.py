"""HTTP/1.1 on uvicorn's `http=` hook, with limits on what a client may send and how slowly.

uvicorn bounds neither the size of a request's head nor the time it takes to arrive, nor the bytes
around a body's, nor how many requests are sent ahead of their answers, nor how long answers are
not read. It adds trailers to the headers, and above its limit of connections it refuses the next
one, genuine or not.

The state of a connection is what comes next from the client, and whether the application has
answered the last request:

* HEAD, from a request's first byte to the end of its headers. A timer runs; the head's bytes and
  headers are counted. Too slow: 408. Too large: 431.
* BODY, up to the end of the request, chunk sizes and trailers included. The application bounds the
  body and its time (`ingress.reading`); here only the bytes around it are counted. Once the
  request has been answered, the rest is read for a while and thrown away, so that the client gets
  the answer before the connection is closed.
* NOTHING, between requests. While the last one is not answered, the server is busy and nothing is
  due from the client. Otherwise uvicorn's keep-alive timer runs, or ours for blank lines.

`refused` ends all of them: an answer of ours has been written, what still arrives is thrown away,
and the connection is closed when the client closes it, or after 2 s or 1 MiB. Beside these states,
another timer runs while the client does not read its answers.

A connection is in `ConnectionLimits.waiting` whenever something is due from its client; above the
limit of connections the one that has been there longest is cut.
"""

import asyncio
import logging
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from itertools import chain
from time import monotonic
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from offhook.core.responses import REFUSED, Answer, Fault
from offhook.web.asgi import LINGER_BYTES, LINGER_SECONDS

HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers. A GET has the message in its line: 1,600 characters, each of
which takes up to 12 when it is encoded."""

FRAMING_BYTES: Final = 16 * 1024
"""Of a request, beyond its head and its body: the sizes and extensions of chunks, and trailers. A
body of 64 KiB needs a few hundred, unless it is cut into tiny chunks."""

TRAILERS: Final = 100
"""Trailers of a request."""

BLANK_BYTES: Final = 1024
"""Of blank lines before a request, which a server should ignore (RFC 9112, 2.2)."""

HEADERS: Final = 100
"""Headers of a request. Twilio sends about ten, and a proxy adds as many."""

HEAD_TIMEOUT: Final = 10.0
"""Seconds from a head's first byte to its last; and for which a client may leave answers unread."""

PIPELINED: Final = 8
"""Requests that may wait for the answers to earlier ones of their connection. A chunk of 256 KB can
hold ten thousand, and each takes 2 KB of memory."""

SPARE_FILES: Final = 64
"""For the store, logs and everything else that a process opens."""

_WARN_EVERY: Final = 10.0  # seconds

# Bytes that the parser gets at a time, with a check in between: uvloop reads 256 KB at once, which
# may be 50,000 headers and take 40 ms.
_SLICE: Final = 16 * 1024

_log = logging.getLogger("offhook")
# uvicorn warns of each malformed request: a flood of them must not flood the log.
_uvicorn_log = logging.getLogger("uvicorn.error.http_protocol")
_uvicorn_log.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits that can be set.

    Attributes:
        connections: of one process.
        head_timeout: seconds; see `HEAD_TIMEOUT`.
    """

    connections: int
    head_timeout: float = HEAD_TIMEOUT


DEFAULT_BOUNDS: Final = Bounds(1000)
"""Of a server that only its own user is meant to reach."""


@dataclass(slots=True)
class ConnectionLimits:
    """The limits of a process's connections, and the state that they share.

    Attributes:
        bounds: the limits.
        waiting: connections that wait for their client, the longest waiting first.
        warned: when too many connections were last logged, by `time.monotonic`.
    """

    bounds: Bounds
    waiting: "OrderedDict[LimitedHttpProtocol, None]" = field(default_factory=OrderedDict)
    warned: float = -_WARN_EVERY

    def make_room(self, held: int) -> bool:
        """Cut the connection that has waited longest if there are too many; False if none waits.

        A genuine request arrives at once, so that its connection hardly ever waits, and is never
        the one that has waited longest.

        Args:
            held: how many connections there are, the new one included.
        """
        if held <= self.bounds.connections:
            return True
        self._warn()
        if not self.waiting:
            return False
        longest, _ = self.waiting.popitem(last=False)
        longest.transport.abort()
        return True

    def _warn(self) -> None:
        if monotonic() - self.warned > _WARN_EVERY:
            self.warned = monotonic()
            _log.warning(
                "%d connections are open: those that send nothing are cut, the longest first "
                "(OFFHOOK_MAX_CONNECTIONS)",
                self.bounds.connections,
            )


def limited_http_protocol(bounds: Bounds) -> type[asyncio.Protocol]:
    """Return what `uvicorn.Config(http=...)` takes: a factory for one process's connections."""
    files = _raise_file_limit(bounds.connections + SPARE_FILES)
    connections = max(1, min(bounds.connections, files - SPARE_FILES))
    limits = ConnectionLimits(Bounds(connections, bounds.head_timeout))
    # uvicorn only calls it.
    return cast("type[asyncio.Protocol]", partial(LimitedHttpProtocol, limits))


def _raise_file_limit(wanted: int) -> int:
    """Raise how many files this process may open to `wanted`, as far as allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


class _Part(Enum):
    """What comes next from the client; see above."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _Trailers(list[tuple[bytes, bytes]]):
    """Drops a request's trailers, and counts them.

    uvicorn would add them to the headers that the application reads. No proxy has checked them,
    and Twilio sends none (RFC 9110, 6.5.1).
    """

    seen = 0

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        """Count one.

        Raises:
            _LimitExceeded: there are too many.
        """
        self.seen += 1
        if self.seen > TRAILERS:
            raise _LimitExceeded


class _LimitExceeded(Exception):  # noqa: N818 - the parser turns it into an error of its own
    """A request exceeds a limit."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """A connection within limits.

    Args:
        limits: of the process.
        given: uvicorn's arguments.
    """

    def __init__(self, limits: ConnectionLimits, **given: Any) -> None:
        super().__init__(**given)
        self.logger = _uvicorn_log
        self._limits = limits
        self._part = _Part.NOTHING
        self._head_bytes = 0  # of the line, and of the headers' names and values
        self._fed = 0  # bytes given to the parser since the last request was complete
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._trailers = _Trailers()
        self._fault = Fault.MALFORMED_REQUEST
        self._refused = False

    def connection_made(self, transport: Any) -> None:
        """Begin, in place of another connection if there are too many."""
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]
        if not self._limits.make_room(len(self.connections)):
            self._write(REFUSED[Fault.TOO_MANY_CONNECTIONS])
            self._refused = True
            self.transport.close()
            return
        self._limits.waiting[self] = None
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._limits.waiting.pop(self, None)
        self._disarm()
        self._disarm_unread()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, as long as it is within the limits."""
        if len(data) <= _SLICE:
            self._feed(data)
            return
        for at in range(0, len(data), _SLICE):
            if not self.transport.is_closing():
                self._feed(data[at : at + _SLICE])

    def _feed(self, data: bytes) -> None:
        self._fed += len(data)
        if self._refused:
            if self._fed > LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        if not self._refused:
            self._check()

    def _check(self) -> None:
        """Check the limits after each piece, and start the timer for what comes next."""
        answered = self.cycle is None or self.cycle.response_complete
        match self._part:
            # By the bytes fed: the parser does not show an incomplete header, however long.
            case _Part.HEAD if self._fed > HEAD_BYTES or len(self.headers) > HEADERS:
                self._refuse(Fault.HEAD_TOO_LARGE)
            case _Part.HEAD:
                self._arm()
            case _Part.BODY if answered:  # the rest of it is not wanted
                self._drain_body()
            case _Part.BODY if self._fed - self._body_bytes > HEAD_BYTES + FRAMING_BYTES:
                self._refuse(Fault.FRAMING_TOO_LARGE)
            case _Part.NOTHING if self._fed > BLANK_BYTES:
                self._refuse(Fault.MALFORMED_REQUEST)
            case _Part.NOTHING if answered and self._fed:  # blank lines
                self._arm()
            case _Part.NOTHING if answered:  # after the end of such a body
                self._await_more()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._part = _Part.HEAD
        self._head_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count the target in the request's line."""
        super().on_url(url)
        self._count(len(url))

    def on_headers_complete(self) -> None:
        """Give the request to the application."""
        # All at once: header by header would take six times as long, and until the last one they
        # are bounded by the bytes fed.
        if len(self.headers) > HEADERS:
            self._count(HEAD_BYTES + 1)
        self._count(sum(map(len, chain.from_iterable(self.headers))))
        self._disarm()
        super().on_headers_complete()
        self._part = _Part.BODY  # not before: a URL that can't be parsed is refused as a head
        self._trailers.seen = 0
        self.headers = self._trailers  # the application has the real ones
        if len(self.pipeline) > PIPELINED:
            raise _LimitExceeded

    def on_body(self, body: bytes) -> None:
        """Count a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._part = _Part.NOTHING
        self._fed = 0
        self._disarm()
        if not self.cycle.response_complete:
            self._limits.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the client again, unless it has sent its next request already."""
        more = bool(self.pipeline)  # before the next one is taken out of it
        if self._part is _Part.BODY and not more:
            self._fed = self._body_bytes = 0  # the rest of the body is drained
        super().on_response_complete()
        if self in self.connections and not more:
            self._limits.waiting[self] = None

    def pause_writing(self) -> None:
        """Start the timer for a client that does not read its answers."""
        super().pause_writing()
        self._limits.waiting.setdefault(self)
        self._unread_timer = self.loop.call_later(
            self._limits.bounds.head_timeout, self.transport.abort
        )

    def resume_writing(self) -> None:
        """Stop that timer."""
        self._disarm_unread()
        if not self.cycle.response_complete:
            self._limits.waiting.pop(self, None)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, not for Twilio
        """Refuse what is malformed, or exceeds a limit while it is parsed."""
        over = self._part is _Part.BODY and self._trailers.seen > TRAILERS
        self._refuse(Fault.FRAMING_TOO_LARGE if over else self._fault)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            self._fault = Fault.HEAD_TOO_LARGE
            raise _LimitExceeded

    def _time_out(self) -> None:
        self._timer = None
        match self._part:
            case _Part.HEAD:
                self._refuse(Fault.HEAD_TIMEOUT)
            case _Part.BODY:
                self.transport.abort()
            case _Part.NOTHING:
                self.transport.close()

    def _drain_body(self) -> None:
        """Throw away the rest of a body that the application did not read, within limits."""
        framing = self._fed - self._body_bytes
        if self._fed > LINGER_BYTES or framing > FRAMING_BYTES:
            self.transport.abort()
        else:
            self._arm()

    def _refuse(self, fault: Fault) -> None:
        """Answer, and close when the client has: see `web.asgi.respond`."""
        self._disarm()
        last = self.cycle
        in_body = self._part is _Part.BODY
        if last is not None and last.response_started and (in_body or not last.response_complete):
            self.transport.abort()  # ours would land inside or after that answer
        if self.transport.is_closing():
            return
        if in_body:  # the application that reads it sees the client as disconnected
            last.disconnected = True
            last.message_event.set()
        self._refused = True
        self._fed = 0
        self._limits.waiting[self] = None
        self._write(REFUSED[fault])
        if last is None or last.response_complete or (last.disconnected and not self.pipeline):
            self.transport.write_eof()  # unless an earlier answer is still to come
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _write(self, answer: Answer) -> None:
        status = HTTPStatus(answer.status)
        headers = dict(answer.headers) | {b"connection": b"close"}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in headers.items()]
        self.transport.write(b"\r\n".join([*lines, b"", answer.body]))

    def _await_more(self) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.bounds.head_timeout, self._time_out)

    def _disarm_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class CoalescingTransport:
    """A transport that joins what is written in one turn of the loop into one write.

    uvicorn writes an answer's head and body separately, and uvloop gives each to the kernel at
    once. A write to a socket costs 4 us of system time, and each wakes the client
    (docs/decisions/0015-hot-path.md).

    Args:
        transport: of the connection.
        loop: of the transport.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send with whatever else is written in this turn."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
