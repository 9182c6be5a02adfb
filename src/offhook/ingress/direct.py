"""Answer webhooks without ASGI: what can be judged at once takes no scope, task or coroutine."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol

import httptools

from offhook.core.keys import Kind
from offhook.core.responses import REFUSED, Answer, Fault
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH
from offhook.ingress.exchange import Refusal
from offhook.ingress.reading import Reader, declared_length
from offhook.ingress.reception import Judged, Outcome, Reception, Validated, refused
from offhook.web.strict_http import is_host

_KINDS: Final[Mapping[bytes, Kind]] = {
    MESSAGES_PATH.encode(): Kind.MESSAGE,
    STATUS_PATH.encode(): Kind.STATUS,
}


class Connection(Protocol):
    """What a webhook needs of its connection."""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        ...

    @property
    def client(self) -> tuple[str, int] | None:
        """The address of the peer, where it has one."""
        ...

    def respond(self, answer: Answer, *, close: bool) -> None:
        """Write an answer; with `close`, it is the last."""
        ...

    def ended(self) -> None:
        """Go on with the next request, now that this one has been answered."""
        ...

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that the server waits for at shutdown."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Webhooks:
    """Takes the webhooks that need no ASGI.

    Args:
        reception: answers them.
        reader: makes requests of them.
    """

    def __init__(self, reception: Reception, reader: Reader) -> None:
        self.reception = reception
        self.reader = reader

    def take(
        self, connection: Connection, target: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> "DirectExchange | None":
        """Return the exchange of a POST of HTTP/1.1; None if the application has to answer it.

        That is so unless it is for one of the two routes, spelled as they are, and nothing about
        its head is out of the ordinary.

        Args:
            connection: that it came by.
            target: of the request.
            headers: of the request, their names in lower case.

        Raises:
            Refusal: its query can't be read.
        """
        path, _, query = target.partition(b"?")
        kind = _KINDS.get(path)
        if kind is None:
            return None
        fields = dict(headers)
        if (
            len(fields) != len(headers)
            or not is_host(fields.get(b"host", b""))
            or b"expect" in fields
            or declared_length(fields) > self.reader.body_limit
        ):
            return None
        return DirectExchange(
            self,
            connection,
            kind=kind,
            path=path,
            query=parsed(target)[1] if query else b"",
            fields=fields,
        )


class DirectExchange:
    """A webhook and its answer; see `exchange.Exchange`.

    Args:
        webhooks: that took it.
        connection: that it came by.
        kind: of the route.
        path: of the request.
        query: of the request.
        fields: its headers, by lower-case name.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_fields",
        "_gone",
        "_kind",
        "_path",
        "_query",
        "_size",
        "_started",
        "_turn",
        "_webhooks",
        "_whole",
        "body_timeout",
        "keep_alive",
    )

    begun = False  # an answer is written whole

    def __init__(
        self,
        webhooks: Webhooks,
        connection: Connection,
        *,
        kind: Kind,
        path: bytes,
        query: bytes,
        fields: Mapping[bytes, bytes],
    ) -> None:
        self.keep_alive = True
        self.body_timeout: float | None = webhooks.reader.body_timeout
        self._webhooks = webhooks
        self._connection = connection
        self._kind = kind
        self._path = path
        self._query = query
        self._fields = fields
        self._started = perf_counter()
        self._chunks: list[bytes] = []
        self._size = 0
        self._whole = self._turn = self._gone = False

    def start(self) -> None:
        """See `Exchange`."""
        self._turn = True
        if self._whole:
            self._judge()

    def feed(self, data: bytes) -> None:
        """See `Exchange`."""
        self._size += len(data)
        if self._size > self._webhooks.reader.body_limit:
            raise Refusal(Fault.BODY_TOO_LARGE)
        self._chunks.append(data)

    def end(self) -> None:
        """See `Exchange`."""
        self._whole = True
        if self._turn:
            self._judge()

    def abandon(self, fault: Fault) -> None:
        """See `Exchange`. What is being appended is reported all the same, once it is."""
        self._gone = True
        if not self._whole:
            self._report(refused(self._kind, REFUSED[fault], self._started))

    def _judge(self) -> None:
        connection = self._connection
        scope = {
            "method": "POST",
            "scheme": connection.scheme,
            "client": connection.client,
            "raw_path": self._path,
            "query_string": self._query,
        }
        request = self._webhooks.reader.request(
            self._kind, scope, self._fields, b"".join(self._chunks), self._started
        )
        judged = self._webhooks.reception.judge(request)
        if isinstance(judged, Judged):
            self._go_on(judged)
        else:
            connection.run(self._wait(judged))

    async def _wait(self, judging: Coroutine[Any, Any, Judged]) -> None:
        try:
            judged = await judging
        except asyncio.CancelledError:  # the server does not wait any longer
            self._connection.abort()
            raise
        self._go_on(judged)

    def _go_on(self, judged: Judged) -> None:
        if isinstance(judged, Outcome):
            self._answer(judged)
            return
        appending = self._webhooks.reception.append(judged)
        appending.add_done_callback(partial(self._appended, judged))

    def _appended(self, validated: Validated, future: "asyncio.Future[bool]") -> None:
        outcome = self._webhooks.reception.appended(validated, future)
        if outcome is None:
            self._connection.abort()
        else:
            self._answer(outcome)

    def _answer(self, outcome: Outcome) -> None:
        if self._gone:
            self._report(outcome)
            return
        self._connection.respond(outcome.answer, close=not self.keep_alive)
        try:
            self._report(outcome)
        finally:
            self._connection.ended()

    def _report(self, outcome: Outcome) -> None:
        self._webhooks.reception.report(outcome)


def parsed(target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of a request's target.

    Raises:
        Refusal: it is no URL with a path.
    """
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserError:
        raise Refusal(Fault.MALFORMED_REQUEST) from None
    path: bytes | None = url.path
    if path is None or not path.isascii():
        raise Refusal(Fault.MALFORMED_REQUEST)
    return path, url.query or b""
