"""The routes that Twilio calls, as ASGI applications: read, receive, send, report."""

from collections.abc import Mapping
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.keys import Kind
from offhook.core.responses import REFUSED, method_not_allowed
from offhook.ingress.reading import Reader, Unreadable
from offhook.ingress.reception import Reception, refused
from offhook.web.asgi import respond

# A number's webhook may be set to GET; a status callback is always a POST.
# https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource (SmsMethod)
METHODS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.MESSAGE: ("GET", "POST"),
    Kind.STATUS: ("POST",),
}


class WebhookEndpoint:
    """Answers the webhooks of one kind; an ASGI application for `http` scopes.

    Args:
        kind: of the route.
        reception: answers the requests.
        reader: reads them.
    """

    def __init__(self, kind: Kind, reception: Reception, reader: Reader) -> None:
        self._kind = kind
        self._reception = reception
        self._reader = reader
        self._methods = METHODS[kind]
        self._method_not_allowed = method_not_allowed(self._methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        unread: Receive | None = None
        if scope["method"] not in self._methods:
            outcome = refused(self._kind, self._method_not_allowed, started)
        else:
            try:
                request = await self._reader.read(self._kind, scope, receive, started)
            except Unreadable as error:
                outcome = refused(self._kind, REFUSED[error.fault], started)
                unread = receive if error.more else None
            else:
                outcome = await self._reception.receive(request)
        await respond(send, outcome.answer, unread)
        self._reception.report(outcome)
