"""Make a request of what a webhook's client sends; read it from ASGI within limits."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.types import Receive, Scope

from offhook.concurrency import Deadline
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.core.responses import Fault
from offhook.ingress.public_url import PublicUrl, raw_path
from offhook.settings import Settings

SIGNATURE: Final = b"x-twilio-signature"


class Reader:
    """Reads requests, within limits of their bodies' size and time.

    Args:
        settings: `public_url`, `trusted_proxies`, `body_limit` and `body_timeout` are read, once.

    Attributes:
        body_limit: bytes of a body.
        body_timeout: seconds for one.

    Raises:
        SettingsError: `trusted_proxies` cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.body_limit = settings.body_limit
        self.body_timeout = settings.body_timeout
        self._public_url = PublicUrl(settings)
        self._body_deadline = Deadline(settings.body_timeout)

    async def read(self, kind: Kind, scope: Scope, receive: Receive, started: float) -> Request:
        """Return a request to a route of this kind; the body of a GET is not read.

        Args:
            kind: of the route.
            scope: of the request.
            receive: of the request.
            started: when it arrived, by `time.perf_counter`.

        Raises:
            Unreadable: its body does not end within the limits.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        body = b"" if scope["method"] == "GET" else await self._read(headers, receive)
        return self.request(kind, scope, headers, body, started)

    def request(
        self, kind: Kind, scope: Scope, headers: Mapping[bytes, bytes], body: bytes, started: float
    ) -> Request:
        """Return a request whose body has been read.

        Args:
            kind: of the route.
            scope: of ASGI; `method`, `scheme`, `client`, `raw_path` and `query_string` are read.
            headers: its headers, by lower-case name.
            body: its body.
            started: when it arrived, by `time.perf_counter`.
        """
        content_type = headers.get(b"content-type")
        return Request(
            kind,
            scope["method"],
            self._public_url.base(scope, headers),
            raw_path(scope),
            scope["query_string"],
            None if content_type is None else content_type.decode("latin-1"),
            headers.get(SIGNATURE, b"").decode("latin-1"),
            body,
            started,
            partial(self._public_url.other_bases, scope, headers),
        )

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        if declared_length(headers) > self.body_limit:
            raise Unreadable(Fault.BODY_TOO_LARGE, more=True)
        try:
            with self._body_deadline:
                return await self._collect(receive)
        except TimeoutError:
            raise Unreadable(Fault.BODY_TIMEOUT, more=False) from None

    async def _collect(self, receive: Receive) -> bytes:
        chunks, length, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Unreadable(Fault.CLIENT_GONE, more=False)
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            length += len(chunk)
            if length > self.body_limit:
                raise Unreadable(Fault.BODY_TOO_LARGE, more=more)
            chunks.append(chunk)
        return b"".join(chunks)


class Unreadable(Exception):  # noqa: N818 - always caught by the endpoint
    """A body did not end within the limits. With `more`, the client is still sending it."""

    def __init__(self, fault: Fault, *, more: bool) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.more = more


def declared_length(headers: Mapping[bytes, bytes]) -> int:
    """Return the bytes that a body is said to have."""
    try:
        return int(headers.get(b"content-length", b"0"))
    except ValueError:
        return 0  # the bytes that arrive are counted too
