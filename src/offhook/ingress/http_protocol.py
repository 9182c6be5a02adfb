"""The server's side of a connection: what it may send, how slowly, and how many there may be.

uvicorn bounds neither the size of a request's head nor the time it takes to come, nor what stands
around the body's bytes, nor how many requests are sent ahead of their answers, nor how long answers
are not read; trailers are headers to it; and what it does to bound connections refuses the genuine
like the others.
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


class OneWrite:
    """A transport that holds what is written until the end of the loop's turn, then sends it all.

    uvicorn writes an answer's head and its body apart, and uvloop gives each to the kernel at once.
    A write to a socket costs 4 us of system time, and the client is woken for each
    (docs/decisions/0015-hot-path.md).

    Args:
        transport: the connection's.
        loop: it belongs to.
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


HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers. A GET has the message in its line: 1,600 characters, each of
which may take 12 when it is encoded."""

FRAMING_BYTES: Final = 16 * 1024
"""Of a request, beyond its head, that are no body either: the sizes and extensions of chunks, and
trailers. A body of 64 KiB needs a few hundred, unless somebody cuts it into crumbs."""

TRAILERS: Final = 100
"""Trailers of a request."""

BLANK_BYTES: Final = 1024
"""Of blank lines before a request, which a server should ignore (RFC 9112, 2.2)."""

HEADERS: Final = 100
"""Headers of a request. Twilio sends about ten, and a proxy adds as many."""

HEAD_TIMEOUT: Final = 10.0
"""Seconds from a head's first byte to its last; and for a client to read on, when answers pile up
because it does not."""

PIPELINED: Final = 8
"""Requests that may wait for the answers to earlier ones of their connection. A chunk of 256 KB can
hold ten thousand, and each takes 2 KB of memory."""

SPARE_FILES: Final = 64
"""For the store, logs, and what else a process has open."""

_TELL_EVERY: Final = 10.0  # seconds

# The parser is fed so many bytes at a time, and looked after in between: uvloop reads 256 KB at
# once, of which it could make 50,000 headers, in 40 ms.
_SLICE: Final = 16 * 1024

_log = logging.getLogger("offhook")
# uvicorn warns of each request that is none: a flood of them must not be one of the log, too.
_uvicorn_log = logging.getLogger("uvicorn.error.door")
_uvicorn_log.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a connection may do.

    Attributes:
        connections: of one process.
        head_timeout: seconds.
    """

    connections: int
    head_timeout: float = HEAD_TIMEOUT


DEFAULT_BOUNDS: Final = Bounds(1000)
"""Of a server that nobody but its user is meant to reach."""


@dataclass(slots=True)
class Hall:
    """All connections of a process, and those whose client is waited for, for longest first."""

    bounds: Bounds
    waiting: "OrderedDict[Door, None]" = field(default_factory=OrderedDict)
    told: float = -_TELL_EVERY

    def make_room(self, held: int) -> bool:
        """Cut a connection if there are too many; return False if none can be.

        A genuine request comes at once: its connection is hardly ever among those that have been
        waited for, and never the one that was waited for longest.
        """
        if held <= self.bounds.connections:
            return True
        self._tell()
        if not self.waiting:
            return False
        longest, _ = self.waiting.popitem(last=False)
        longest.transport.abort()
        return True

    def _tell(self) -> None:
        if monotonic() - self.told > _TELL_EVERY:
            self.told = monotonic()
            _log.warning(
                "%d connections are open: those that send nothing are cut, the longest first "
                "(OFFHOOK_MAX_CONNECTIONS)",
                self.bounds.connections,
            )


def door(bounds: Bounds) -> type[asyncio.Protocol]:
    """Return what `uvicorn.Config(http=...)` takes: the protocol of one process' connections."""
    files = _room_for(bounds.connections + SPARE_FILES)
    connections = max(1, min(bounds.connections, files - SPARE_FILES))
    hall = Hall(Bounds(connections, bounds.head_timeout))
    # uvicorn only ever calls it.
    return cast("type[asyncio.Protocol]", partial(Door, hall))


def _room_for(wanted: int) -> int:
    """Raise how many files this process may open, if it has to be, and may; return what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


class _Part(Enum):
    """What comes next from the client."""

    NOTHING = auto()  # of a request; another may follow
    HEAD = auto()
    BODY = auto()  # and what stands around it


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes a request's trailers, and keeps none.

    uvicorn adds them to the headers that the application reads. No proxy has looked at them, and
    nothing of Twilio's is in one (RFC 9110, 6.5.1).
    """

    seen = 0

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        """Count one more.

        Raises:
            _Unbearable: it is one too many.
        """
        self.seen += 1
        if self.seen > TRAILERS:
            raise _Unbearable


class _Unbearable(Exception):  # noqa: N818 - caught by the parser, which says so in its own words
    """A request goes beyond the bounds."""


class Door(HttpToolsProtocol):
    """A connection within bounds.

    Args:
        hall: of its process.
        given: uvicorn's own.
    """

    def __init__(self, hall: Hall, **given: Any) -> None:
        super().__init__(**given)
        self.logger = _uvicorn_log
        self._hall = hall
        self._part = _Part.NOTHING
        self._head_bytes = 0  # of names, values and the line
        self._fed = 0  # bytes since the head began, or something that may become one
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._trailers = _Trailers()
        self._fault = Fault.MALFORMED_REQUEST
        self._refused = False

    def connection_made(self, transport: Any) -> None:
        """Let a connection in, in another's place if need be."""
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]
        if not self._hall.make_room(len(self.connections)):
            self._write(REFUSED[Fault.TOO_MANY_CONNECTIONS])
            self._refused = True
            self.transport.close()
            return
        self._hall.waiting[self] = None
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._hall.waiting.pop(self, None)
        self._disarm()
        self._disarm_unread()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, as long as it is within bounds."""
        if len(data) <= _SLICE:
            self._take(data)
            return
        for at in range(0, len(data), _SLICE):
            if not self.transport.is_closing():
                self._take(data[at : at + _SLICE])

    def _take(self, data: bytes) -> None:
        self._fed += len(data)
        if self._refused:
            if self._fed > LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        if not self._refused:
            self._watch()

    def _watch(self) -> None:
        """See to it that what comes next comes in time."""
        answered = self.cycle is None or self.cycle.response_complete
        match self._part:
            # Counted as they come: the parser keeps half a header to itself, however long it is.
            case _Part.HEAD if self._fed > HEAD_BYTES or len(self.headers) > HEADERS:
                self._refuse(Fault.HEAD_TOO_LARGE)
            case _Part.HEAD:
                self._arm()
            case _Part.BODY if answered:  # nobody waits for the rest of it
                self._bear_with_rest()
            case _Part.BODY if self._fed - self._body_bytes > HEAD_BYTES + FRAMING_BYTES:
                self._refuse(Fault.FRAMING_TOO_LARGE)
            case _Part.NOTHING if self._fed > BLANK_BYTES:
                self._refuse(Fault.MALFORMED_REQUEST)
            case _Part.NOTHING if answered and self._fed:  # blank lines
                self._arm()
            case _Part.NOTHING if answered:  # the end of such a body
                self._await_more()

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._part = _Part.HEAD
        self._head_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take the line."""
        super().on_url(url)
        self._count(len(url))

    def on_headers_complete(self) -> None:
        """Have the request served."""
        # All at once: at each of ten headers it would take six times as long, and what comes
        # before the last one is bounded by the bytes fed.
        if len(self.headers) > HEADERS:
            self._count(HEAD_BYTES + 1)
        self._count(sum(map(len, chain.from_iterable(self.headers))))
        self._disarm()
        super().on_headers_complete()
        self._part = _Part.BODY  # not before: a URL that can't be read is no request yet
        self._trailers.seen = 0
        self.headers = self._trailers  # the application has the others
        if len(self.pipeline) > PIPELINED:
            raise _Unbearable

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that nothing more of the request comes."""
        self._part = _Part.NOTHING
        self._fed = 0
        self._disarm()
        if not self.cycle.response_complete:
            self._hall.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the client again."""
        more = bool(self.pipeline)  # asked before: the next one is taken out when it begins
        if self._part is _Part.BODY and not more:
            self._fed = self._body_bytes = 0  # what comes from now on is wanted by nobody
        super().on_response_complete()
        if self in self.connections and not more:
            self._hall.waiting[self] = None

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answers."""
        super().pause_writing()
        self._hall.waiting.setdefault(self)
        self._unread_timer = self.loop.call_later(
            self._hall.bounds.head_timeout, self.transport.abort
        )

    def resume_writing(self) -> None:
        """Note that the client has read on."""
        self._disarm_unread()
        if not self.cycle.response_complete:
            self._hall.waiting.pop(self, None)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's, which is not for Twilio
        """Refuse what is no request, or not within bounds."""
        over = self._part is _Part.BODY and self._trailers.seen > TRAILERS
        self._refuse(Fault.FRAMING_TOO_LARGE if over else self._fault)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            self._fault = Fault.HEAD_TOO_LARGE
            raise _Unbearable

    def _give_up(self) -> None:
        self._timer = None
        match self._part:
            case _Part.HEAD:
                self._refuse(Fault.HEAD_TIMEOUT)
            case _Part.BODY:
                self.transport.abort()
            case _Part.NOTHING:
                self.transport.close()

    def _bear_with_rest(self) -> None:
        """Let a body that was not read to its end come, but not for long."""
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
            self.transport.abort()  # what is written now would stand within that answer, or behind
        if self.transport.is_closing():
            return
        if in_body:  # to the application that reads it, the client has left
            last.disconnected = True
            last.message_event.set()
        self._refused = True
        self._fed = 0
        self._hall.waiting[self] = None
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
            self._timer = self.loop.call_later(self._hall.bounds.head_timeout, self._give_up)

    def _disarm_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
