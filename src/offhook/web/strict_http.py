"""Refuse requests that HTTP forbids, and that some servers let through."""

from typing import Final

from starlette.types import Receive, Scope, Send

from offhook.core.hosts import host_name
from offhook.core.responses import REFUSED, Fault
from offhook.web.asgi import respond
from offhook.web.router import Branches, Router

# ASGI names HTTP/2 and HTTP/3 without a minor version; `2.0` is an HTTP/1 request that says so.
# Granian calls HTTP/1.0 `1`.
_VERSIONS: Final = frozenset({"1", "1.0", "1.1", "2", "3"})
_MAX_HOST: Final = 255 + len(":65535")


class StrictHttp:
    """Refuses malformed requests, and passes the others on; an ASGI application for all scopes.

    It refuses unsupported versions of HTTP (RFC 9110, 15.6.6), and requests without a host, with
    several or with an impossible one (RFC 9112, 3.2). HTTP/1.0 needs none.

    Args:
        app: answers the others.
    """

    def __init__(self, app: Router | Branches) -> None:
        self._app = app

    @property
    def paths(self) -> frozenset[str]:
        """The paths, and prefixes of paths, that are answered."""
        return self._app.paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        fault = _fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await respond(send, REFUSED[fault])


def _fault(scope: Scope) -> Fault | None:
    fields = dict(scope["headers"])
    host = fields.get(b"host")
    # As nearly all requests are, for less.
    if scope["http_version"] == "1.1" and host and len(fields) == len(scope["headers"]):
        return None if is_host(host) else Fault.BAD_HOST
    if scope["http_version"] not in _VERSIONS:
        return Fault.UNSUPPORTED_VERSION
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        return Fault.BAD_HOST if scope["http_version"] == "1.1" else None
    return None if len(hosts) == 1 and is_host(hosts[0]) else Fault.BAD_HOST


def is_host(value: bytes) -> bool:
    """Return whether a Host header names a host that can exist."""
    return len(value) <= _MAX_HOST and host_name(value.decode("latin-1")) is not None
