"""Answer 404 to paths that are no routes, and report the request if Twilio has signed it."""

from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.keys import Kind
from offhook.core.responses import REFUSED, Fault
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH
from offhook.ingress.reading import SIGNATURE, Reader, Unreadable
from offhook.ingress.reception import Reception
from offhook.ingress.validation import DIAGNOSIS_INTERVAL
from offhook.web.asgi import respond

_METHODS: Final = frozenset({"GET", "POST"})  # that Twilio uses


class Missing:
    """Answers 404; an ASGI application for `http` scopes.

    Reports webhooks that Twilio has signed. A request without a signature is answered at once; of
    the others one a second is read and verified, so that a flood of them causes no work.

    Args:
        reception: verifies them, and reports those that are genuine.
        reader: reads the requests.
        mount_path: of the routes, if it is known.
    """

    def __init__(self, reception: Reception, reader: Reader, mount_path: str) -> None:
        self._reception = reception
        self._reader = reader
        self._mount_path = mount_path
        self._next_look = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and verify the request if it is due."""
        request, unread = None, None
        now = perf_counter()
        if self._is_due(scope, now):
            try:
                request = await self._reader.read(Kind.MESSAGE, scope, receive, now)
            except Unreadable as error:
                if error.fault is Fault.CLIENT_GONE:
                    return
                unread = receive if error.more else None
        await respond(send, REFUSED[Fault.NOT_FOUND], unread)
        if request is not None:
            prefix = request.base + (self._mount_path or scope.get("root_path", ""))
            await self._reception.report_stray(
                request, prefix + MESSAGES_PATH, prefix + STATUS_PATH
            )

    def _is_due(self, scope: Scope, now: float) -> bool:
        """Return whether to verify a request: it may be signed, and none was verified lately."""
        signed = any(name == SIGNATURE and value for name, value in scope["headers"])
        if not signed or scope["method"] not in _METHODS or now < self._next_look:
            return False
        self._next_look = now + DIAGNOSIS_INTERVAL
        return True
