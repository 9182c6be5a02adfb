"""The routes Twilio calls: bounded reading, then on to the processor. Plain ASGI."""

from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.answers import REFUSED, Answer, Fault, method_not_allowed
from offhook.core.keys import Kind
from offhook.deadline import Deadline
from offhook.ingest import Acknowledge, Request, WebhookProcessor
from offhook.settings import Settings
from offhook.web.asgi import respond, respond_unread
from offhook.web.public_url import PublicUrl, raw_path

# A number's webhook may be set to GET; a status callback is always a POST.
# https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource (SmsMethod)
METHODS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.MESSAGE: ("GET", "POST"),
    Kind.STATUS: ("POST",),
}


class WebhookEndpoint:
    """Answers the webhooks of one kind; an ASGI application for `http` scopes.

    Args:
        kind: what is called for here.
        processor: validates, stores and acknowledges.
        settings: `public_url`, `trusted_proxies`, `body_limit` and `body_timeout` are read, once.

    Raises:
        SettingsError: `trusted_proxies` cannot be read.
    """

    def __init__(self, kind: Kind, processor: WebhookProcessor, settings: Settings) -> None:
        self._kind = kind
        self._processor = processor
        self._public_url = PublicUrl(settings)
        self._body_limit = settings.body_limit
        self._body_deadline = Deadline(settings.body_timeout)
        self._methods = METHODS[kind]
        self._method_not_allowed = method_not_allowed(self._methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, within its bounds, and have it processed."""
        started = perf_counter()
        acknowledge: Acknowledge = partial(respond, send)
        method = scope["method"]
        if method not in self._methods:
            answer = self._method_not_allowed
            await self._processor.refuse(self._kind, answer, acknowledge, started=started)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            body = b"" if method == "GET" else await self._read(headers, receive)
        except _Unreadable as error:
            acknowledge, answer = error.acknowledge(receive, send), REFUSED[error.fault]
            await self._processor.refuse(self._kind, answer, acknowledge, started=started)
            return
        content_type = headers.get(b"content-type")
        request = Request(
            self._kind,
            method,
            self._public_url.base(scope, headers),
            raw_path(scope),
            scope["query_string"],
            None if content_type is None else content_type.decode("latin-1"),
            headers.get(b"x-twilio-signature", b"").decode("latin-1"),
            body,
            started,
            partial(self._public_url.other_bases, scope, headers),
        )
        await self._processor.process(request, acknowledge)

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        if _declared_length(headers) > self._body_limit:
            raise _Unreadable(Fault.BODY_TOO_LARGE, more=True)
        try:
            with self._body_deadline:
                return await self._collect(receive)
        except TimeoutError:
            raise _Unreadable(Fault.BODY_TIMEOUT, more=True) from None

    async def _collect(self, receive: Receive) -> bytes:
        chunks, length, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Unreadable(Fault.CLIENT_GONE, more=False)
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            length += len(chunk)
            if length > self._body_limit:
                raise _Unreadable(Fault.BODY_TOO_LARGE, more=more)
            chunks.append(chunk)
        return b"".join(chunks)


class _Unreadable(Exception):  # noqa: N818 - caught here, seen by nobody
    """A body was not read to its end within its bounds; `more` of it may be on its way."""

    def __init__(self, fault: Fault, *, more: bool) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.more = more

    def acknowledge(self, receive: Receive, send: Send) -> Acknowledge:
        """Return how to answer such a request."""
        match self.fault:
            case Fault.CLIENT_GONE:
                return _say_nothing
            case Fault.BODY_TOO_LARGE if self.more:
                return partial(respond_unread, send, receive)
            case _:
                return partial(respond, send)


async def _say_nothing(_answer: Answer) -> None:
    """Nobody is there to be answered."""


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    try:
        return int(headers.get(b"content-length", b"0"))
    except ValueError:
        return 0  # what arrives is counted all the same
