"""HTTP/1.1 on uvicorn's `http=` hook, with limits on what a client may send and how slowly.

uvicorn's own protocols bound neither the size of a request's head nor the time it takes to arrive,
nor the bytes around a body's, nor how many requests are sent ahead of their answers, nor how long
answers are not read. They add trailers to the headers, and above their limit of connections they
refuse the next one, genuine or not. And each request takes a scope, a task and several coroutines.

A request becomes an exchange: a webhook is answered directly (`direct`), everything else by the
ASGI application (`exchange`). Exchanges take turns in the order of their requests: `_current` is
being answered, those in `_queue` wait for it, and `_incoming` is the one whose body is being
received.

`connection_state` has what a connection goes through. Once it is lingering, what still arrives is
thrown away, and it is closed when the client closes it, or after 2 s or 1 MiB. A connection is in
`ConnectionLimits.waiting` whenever something is due from its client; above the limit of connections
the one that has been there longest is cut.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from offhook.core.responses import REFUSED, Answer, Fault
from offhook.ingress.connection_state import BETWEEN, TRANSITIONS, Event, State
from offhook.ingress.connections import Bounds, ConnectionLimits
from offhook.ingress.direct import Webhooks, parsed
from offhook.ingress.exchange import AsgiExchange, Exchange, Refusal
from offhook.ingress.request_limits import (
    BLANK_BYTES,
    FRAMING_BYTES,
    HEAD_BYTES,
    HEADERS,
    PIPELINED,
    SLICE,
    Trailers,
    check_head,
)
from offhook.ingress.transport import AnswerBytes, CoalescingTransport
from offhook.web.asgi import LINGER_BYTES, LINGER_SECONDS


def limited_http_protocol(
    bounds: Bounds, webhooks: Callable[[], Webhooks | None] = lambda: None
) -> type[asyncio.Protocol]:
    """Return what `uvicorn.Config(http=...)` takes: a factory for one process's connections.

    Args:
        bounds: of the connections.
        webhooks: returns what answers webhooks without the application; None for nothing. It is
            called for each connection, since an application is started after its server was made.
    """
    limits = ConnectionLimits.within_files(bounds)
    # uvicorn only calls it.
    return cast("type[asyncio.Protocol]", partial(HttpProtocol, limits, AnswerBytes(), webhooks))


class HttpProtocol(asyncio.Protocol):
    """A connection within limits.

    Args:
        limits: of the process.
        answers: as bytes.
        webhooks: as of `limited_http_protocol`.
        config: of uvicorn's server.
        server_state: of uvicorn's server.
        app_state: what the application's lifespan has left for its requests.
        _loop: unused; uvicorn passes it.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        answers: AnswerBytes,
        webhooks: Callable[[], Webhooks | None],
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._limits = limits
        self._answers = answers
        self._webhooks = webhooks()
        self._config = config
        self._server = server_state
        self._connections = cast("set[HttpProtocol]", server_state.connections)
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._state = State.IDLE
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that says `Connection: close` is ignored, not refused before that
        # request has been answered.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: CoalescingTransport
        self._flow: FlowControl
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._keep_alive_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self.scheme = "http"
        self._peer: tuple[str, int] | None = None
        self._peer_known = False
        # Of the request that is being received
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._trailers = Trailers()
        self._fed = 0  # bytes given to the parser since the last request was complete
        self._body_bytes = 0
        self._burst = 0  # requests that came at once
        # Exchanges
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self._refusal: Answer | None = None  # to be written once the others have been answered

    @property
    def client(self) -> tuple[str, int] | None:
        """The address of the peer, where it has one."""
        if not self._peer_known:
            self._peer, self._peer_known = get_remote_addr(cast("Any", self._transport)), True
        return self._peer

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, in place of another connection if there are too many."""
        self._transport = CoalescingTransport(transport, self._loop)
        self._flow = FlowControl(cast("Any", self._transport))
        self.scheme = "https" if is_ssl(cast("Any", transport)) else "http"
        self._connections.add(self)
        if not self._limits.make_room(len(self._connections)):
            self._state = TRANSITIONS[self._state][Event.REFUSE]
            self._write(REFUSED[Fault.TOO_MANY_CONNECTIONS], close=True)
            self._transport.close()
            return
        self._limits.waiting[self] = None
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Give up what has not been answered, and stop the timers."""
        self._state = TRANSITIONS[self._state][Event.LOSE]
        self._connections.discard(self)
        self._limits.waiting.pop(self, None)
        self._disarm()
        self._disarm_unread()
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
        self._flow.resume_writing()  # whoever waits for it sees that it is in vain
        current, self._current, self._incoming = self._current, None, None
        self._queue.clear()
        del self._parser  # it has methods of ours
        if current is not None:
            current.abandon(Fault.CLIENT_GONE)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, as long as it is within the limits."""
        self._burst = 0
        if len(data) <= SLICE:
            self._feed(data)
            return
        for at in range(0, len(data), SLICE):
            if not self._transport.is_closing():
                self._feed(data[at : at + SLICE])

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its answers; close if it goes on so."""
        self._flow.pause_writing()
        self._flow.pause_reading()
        self._limits.waiting.setdefault(self)
        self._unread_timer = self._loop.call_later(self._limits.bounds.head_timeout, self.abort)

    def resume_writing(self) -> None:
        """Read on, now that the client reads its answers."""
        self._disarm_unread()
        if self._current is not None and self._current is not self._incoming:
            self._limits.waiting.pop(self, None)
        self._flow.resume_writing()
        if not self._queue:
            self._flow.resume_reading()

    def shutdown(self) -> None:
        """Close once all requests have been answered: the server ends."""
        last = self._queue[-1] if self._queue else self._current
        if last is None:
            self._transport.close()
        else:
            last.keep_alive = False

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _feed(self, data: bytes) -> None:
        self._fed += len(data)
        if self._state is State.LINGERING:
            if self._fed > LINGER_BYTES:
                self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, Refusal):
                raise  # a mistake of ours
            self._refuse(error.__context__.fault)
        except httptools.HttpParserError:
            self._refuse(Fault.MALFORMED_REQUEST)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as any other, and what follows it is not
        if self._fed or self._state not in BETWEEN:
            self._check()

    def _check(self) -> None:
        """Check the limits after each piece, and start the timer for what comes next."""
        framing = self._fed - self._body_bytes
        match self._state:
            case State.IDLE | State.WAITING if self._fed > BLANK_BYTES:
                self._refuse(Fault.MALFORMED_REQUEST)
            case State.IDLE if self._fed:  # blank lines
                self._arm(self._limits.bounds.head_timeout)
            # By the bytes fed: the parser does not show an incomplete header, however long.
            case State.HEAD if self._fed > HEAD_BYTES or len(self._headers) > HEADERS:
                self._refuse(Fault.HEAD_TOO_LARGE)
            case State.HEAD:
                self._arm(self._limits.bounds.head_timeout)
            case State.BODY if framing > HEAD_BYTES + FRAMING_BYTES:
                self._refuse(Fault.FRAMING_TOO_LARGE)
            case State.BODY:
                self._await_body()
            case State.DRAINING if self._fed > LINGER_BYTES or framing > FRAMING_BYTES:
                self.abort()
            case State.DRAINING:
                self._arm(self._limits.bounds.head_timeout)

    # The parser's calls

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._state = TRANSITIONS[self._state][Event.BEGIN]
        self._target = b""
        self._headers = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Make an exchange of the request."""
        check_head(self._target, self._headers, self._fed)
        exchange = self._exchange()
        self._take(exchange)
        self._disarm()
        self._trailers.seen = 0
        self._headers = self._trailers  # the exchange has the real ones
        self._state = TRANSITIONS[self._state][Event.HEADERS]
        self._incoming = exchange
        if exchange is self._current:
            exchange.start()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._state = TRANSITIONS[self._state][Event.END]
        self._fed = 0
        self._disarm()
        exchange, self._incoming = self._incoming, None
        if exchange is None:  # answered before
            self._await_request()
        else:
            self._limits.waiting.pop(self, None)
            exchange.end()

    def _exchange(self) -> Exchange:
        parser = self._parser
        version, keep_alive = parser.get_http_version(), parser.should_keep_alive()
        if (
            self._webhooks is not None
            and version == "1.1"
            and parser.get_method() == b"POST"
            and not parser.should_upgrade()
        ):
            direct = self._webhooks.take(self, self._target, self._headers)
            if direct is not None:
                direct.keep_alive = keep_alive
                return direct
        return self._asgi_exchange(version, keep_alive=keep_alive and version != "1.0")

    def _asgi_exchange(self, version: str, *, keep_alive: bool) -> Exchange:
        raw_path, query = parsed(self._target)
        scope = {
            "type": "http",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": get_local_addr(cast("Any", self._transport)),
            "client": self.client,
            "scheme": self.scheme,
            "method": self._parser.get_method().decode("ascii"),
            "root_path": "",
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        return AsgiExchange(
            scope,
            self._config.loaded_app,
            self._server,
            self._transport,
            self._flow,
            keep_alive=keep_alive,
            ended=self.ended,
        )

    def _take(self, exchange: Exchange) -> None:
        """Have a request answered in its turn.

        Raises:
            Refusal: too many were sent ahead.
        """
        self._burst += 1
        if self._burst > PIPELINED + 1 or len(self._queue) == PIPELINED:
            self._forget()
            raise Refusal(Fault.MALFORMED_REQUEST)
        if self._current is None:
            self._current = exchange
        else:
            self._flow.pause_reading()
            self._queue.append(exchange)

    # The exchanges' calls

    def respond(self, answer: Answer, *, close: bool) -> None:
        """See `direct.Connection`."""
        if self._transport.is_closing():
            return
        self._write(answer, close=close)
        if close:
            self._transport.close()

    def ended(self) -> None:
        """See `direct.Connection`."""
        self._current = None
        self._server.total_requests += 1
        if self._transport.is_closing():
            return
        if self._queue:
            self._turn(self._queue.popleft())
            return
        self._state = TRANSITIONS[self._state][Event.ANSWER]
        self._limits.waiting[self] = None
        self._resume_reading()
        match self._state:
            case State.IDLE:
                self._await_request()
            case State.DRAINING:
                self._incoming = None
                self._fed = self._body_bytes = 0
            case State.LINGERING:
                self._linger()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """See `direct.Connection`."""
        task = self._loop.create_task(work)
        task.add_done_callback(self._server.tasks.discard)
        self._server.tasks.add(task)

    def _turn(self, exchange: Exchange) -> None:
        self._current = exchange
        if not self._queue:
            self._resume_reading()
        if exchange is self._incoming:
            self._limits.waiting[self] = None
            self._await_body()
        exchange.start()

    def _forget(self) -> None:
        """Answer none of the requests that came at once: the refusal is the only answer."""
        current, self._current = self._current, None
        self._queue.clear()
        if current is not None:
            if current.begun:
                self.abort()
            current.abandon(Fault.CLIENT_GONE)

    def _refuse(self, fault: Fault) -> None:
        """Refuse what came, and close when the client has: see `web.asgi.respond`."""
        self._disarm()
        exchange = self._incoming
        if self._state is State.DRAINING or (exchange is not None and exchange.begun):
            self.abort()  # ours would land inside or after that answer
        if self._transport.is_closing():
            return
        self._incoming = None
        if exchange is not None and exchange is self._current:
            self._current = None
        elif exchange is not None:
            self._queue.pop()
        self._state = TRANSITIONS[self._state][Event.REFUSE]
        self._fed = 0
        self._refusal = REFUSED[fault]
        if self._current is None:
            self._linger()
        if exchange is not None:
            exchange.abandon(fault)

    def _linger(self) -> None:
        """Write the refusal, now that all before it has been answered."""
        answer, self._refusal = self._refusal, None
        if answer is None:
            return
        self._fed = 0
        self._limits.waiting[self] = None
        self._flow.resume_reading()
        self._write(answer, close=True)
        self._transport.write_eof()
        self._arm(LINGER_SECONDS)

    def _write(self, answer: Answer, *, close: bool) -> None:
        self._transport.write_whole(
            self._answers.get(answer, self._server.default_headers, close=close)
        )

    # Timers

    def _await_request(self) -> None:
        """Close the connection if no request comes within uvicorn's `timeout_keep_alive`.

        The timer is not stopped when one does: that would take 2 us for each. It goes on until it
        finds out how long the connection has been idle.
        """
        self._idle_since = self._loop.time()
        if self._keep_alive_timer is None:
            self._start_keep_alive(self._config.timeout_keep_alive)

    def _start_keep_alive(self, seconds: float) -> None:
        self._keep_alive_timer = self._loop.call_later(seconds, self._end_keep_alive)

    def _end_keep_alive(self) -> None:
        self._keep_alive_timer = None
        if self._state is not State.IDLE:
            return
        left = self._idle_since + self._config.timeout_keep_alive - self._loop.time()
        if left > 0:
            self._start_keep_alive(left)
        else:
            self._transport.close()

    def _await_body(self) -> None:
        exchange = self._incoming
        if exchange is not None and exchange is self._current and exchange.body_timeout is not None:
            self._arm(exchange.body_timeout)

    def _arm(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._time_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _disarm_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _time_out(self) -> None:
        self._timer = None
        match self._state:
            case State.HEAD:
                self._refuse(Fault.HEAD_TIMEOUT)
            case State.BODY:
                self._refuse(Fault.BODY_TIMEOUT)
            case State.IDLE:
                self._transport.close()
            case State.DRAINING | State.LINGERING:
                self.abort()

    def _resume_reading(self) -> None:
        if not self._flow.write_paused:
            self._flow.resume_reading()
