"""Local-only access: loopback plus a token per start; and protection from DNS rebinding."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offhook.core.hosts import HostNames, host_name, is_inner
from offhook.core.responses import ERROR_HEADER, REFUSED, Answer, Fault
from offhook.web.asgi import respond

TOKEN: Final = "token"  # noqa: S105 - a parameter's name
"""The parameter of the link that carries the token."""

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers send "null" as the Origin, which we check (Fetch
    # standard, "append a request Origin header").
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

_SAFE: Final = frozenset({"GET", "HEAD"})

# Set by tunnels and proxies; a browser on this machine uses neither.
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

_FOREIGN: Final = Answer(
    HTTPStatus.MISDIRECTED_REQUEST,
    Fault.HOST_NOT_ALLOWED,
    (
        (b"content-type", b"text/plain; charset=utf-8"),
        (ERROR_HEADER, Fault.HOST_NOT_ALLOWED.encode()),
        (b"cache-control", b"no-store"),
    ),
    b"host name not allowed: use an IP address, or add the name to OFFHOOK_ALLOWED_HOSTS\n",
)

_HINT: Final = "Open the full link printed in your terminal; its token changes on every start.\n"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>No access \u00b7 offhook</title>
  <link rel="stylesheet" href="/design/offhook.css">
</head>
<body><main class="gate-card"><h1>No access</h1><p>%s</p></main></body>
</html>
"""


class TokenAuth:
    """Restrict pages to a browser on this machine that has the token; an ASGI application.

    A tunnel connects from this machine, and any site's name can be made to resolve to it, so
    neither the peer's address nor a cookie is enough. A request passes if its peer is this machine,
    its `Host` names this machine, it was not forwarded, it has no foreign `Origin` (and an own one
    if it changes something), and it carries the cookie. The link with the token sets the cookie,
    which holds a digest of the token.

    Requests from elsewhere, or under another host name, are answered 404; others 403.

    Args:
        app: the pages.
        token: of this start.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._pass = hmac.digest(self._token, b"offhook pages", hashlib.sha256).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an `http` request on, or refuse it."""
        request = Request(scope)
        if not is_local(request):
            await respond(send, REFUSED[Fault.NOT_FOUND])
            return
        refusal = self._refusal(request)
        if isinstance(refusal, str):
            refusal = _forbidden(request, refusal)
        if refusal is not None:
            await refusal(scope, receive, with_headers(send))
            return
        await self._app(scope, receive, with_headers(send))

    def _refusal(self, request: Request) -> Response | str | None:
        """Return a redirect, or why the request is refused; None if it may pass."""
        if not _is_same_origin(request):
            return "Cross-site request refused.\n"
        if request.method == "GET" and TOKEN in request.query_params:
            return self._admit(request)
        given = request.cookies.get(cookie_name(request), "")
        if not hmac.compare_digest(given.encode(), self._pass.encode()):
            return _HINT
        return None

    def _admit(self, request: Request) -> Response | str:
        """Exchange the token for the cookie, and redirect to the URL without it."""
        given = request.query_params[TOKEN].encode()
        if not hmac.compare_digest(given, self._token):
            return _HINT
        clean = "/" + quote(request.scope["path"].lstrip("/"))
        response = RedirectResponse(clean, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
        response.set_cookie(cookie_name(request), self._pass, httponly=True, samesite="strict")
        return response


class LocalOnly:
    """Restrict an application to requests from this machine; others are answered 404.

    Args:
        app: for `http` scopes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if is_local(Request(scope)):
            await self._app(scope, receive, send)
        else:
            await respond(send, REFUSED[Fault.NOT_FOUND])


class TrustedHost:
    """Refuse requests under unknown host names, to prevent DNS rebinding; an ASGI application.

    An attacker's name can resolve to this machine, so that browsers which visit it send requests
    here. IP addresses, and names without a dot, cannot be an attacker's.

    Args:
        app: for `http` scopes.
        hosts: other names that are allowed.
    """

    def __init__(self, app: ASGIApp, hosts: HostNames) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        name = host_name(Request(scope).headers.get("host", "")) or ""
        if is_inner(name) or name in self._hosts:
            await self._app(scope, receive, send)
        else:
            await respond(send, _FOREIGN)


def is_local(request: Request) -> bool:
    """Return whether a request comes from this machine, by its name, and not through a proxy."""
    return (
        _is_loopback_peer(request)
        and is_loopback(request.headers.get("host", ""))
        and not _names(request.headers, _FORWARDED)
    )


def is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine, with or without a port."""
    return re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", host, re.ASCII) is not None


def _is_loopback_peer(request: Request) -> bool:
    try:
        peer = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return bool((mapped or peer).is_loopback)


def _is_same_origin(request: Request) -> bool:
    """Return whether a request is same-origin."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.method in _SAFE
    return origin == f"{request.url.scheme}://{request.headers['host']}"


def cookie_name(request: Request, begins: str = "offhook") -> str:
    """Return the name of our cookie on this port.

    Browsers share cookies among all ports of a host, so the name contains the port.
    """
    port = re.search(r":(\d+)$", request.headers.get("host", ""), re.ASCII)
    return f"{begins}_{port[1] if port else ''}"


def _names(headers: Headers, names: Iterable[str]) -> bool:
    return any(name in headers for name in names)


def _forbidden(request: Request, why: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    if "text/html" in request.headers.get("accept", ""):  # a browser opens a page
        return HTMLResponse(_PAGE % why, HTTPStatus.FORBIDDEN, headers)
    return PlainTextResponse(why, HTTPStatus.FORBIDDEN, headers)


def with_headers(send: Send) -> Send:
    """Return a `send` that adds the security headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
