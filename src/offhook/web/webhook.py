"""The routes Twilio calls: bounded reading, then on to the processor. Plain ASGI."""

from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.answers import REFUSED, method_not_allowed
from offhook.core.keys import Kind
from offhook.ingest import Acknowledge, WebhookProcessor
from offhook.web.asgi import respond
from offhook.web.reading import Reader, Unreadable

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
        reader: reads the requests.
    """

    def __init__(self, kind: Kind, processor: WebhookProcessor, reader: Reader) -> None:
        self._kind = kind
        self._processor = processor
        self._reader = reader
        self._methods = METHODS[kind]
        self._method_not_allowed = method_not_allowed(self._methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, within its bounds, and have it processed."""
        started = perf_counter()
        acknowledge: Acknowledge = partial(respond, send)
        if scope["method"] not in self._methods:
            answer = self._method_not_allowed
            await self._processor.refuse(self._kind, answer, acknowledge, started=started)
            return
        try:
            request = await self._reader.read(self._kind, scope, receive, started)
        except Unreadable as error:
            acknowledge, answer = error.acknowledge(receive, send), REFUSED[error.fault]
            await self._processor.refuse(self._kind, answer, acknowledge, started=started)
            return
        await self._processor.process(request, acknowledge)
