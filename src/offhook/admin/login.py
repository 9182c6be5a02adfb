"""Token login to the dashboard on the admin address."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.admin.forms import CSRF, PATH, read_body
from offhook.core.forms import parameters
from offhook.web.local_only import cookie_name, with_headers

LOGIN: Final = f"{PATH}/login"
LOGOUT: Final = f"{PATH}/logout"
COOKIE: Final = "offhook_dashboard"
"""The prefix of the login's cookie; see `local_only.cookie_name`."""

SESSION_SECONDS: Final = 12 * 3600
"""Seconds until a login expires."""

_OPEN: Final = (f"{PATH}/static/", "/design/")  # the login page needs them; they hold no secret
_EACH: Final = 5  # failed attempts from one address in a minute
_ALL: Final = 60  # failed attempts in an hour
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_MAX_COOKIE: Final = 200
_FRESH: Final = {"Cache-Control": "no-store"}


class Login:
    """Require a login before the dashboard; an ASGI application.

    A login's cookie is signed and expires after twelve hours, or at the logout. It is HttpOnly and
    SameSite=Strict. Requests that change something must carry the login's CSRF token, and must not
    be cross-site. After five wrong tokens in a minute from one address, or sixty in an hour in
    all, further logins are refused for a while.

    Args:
        app: the dashboard.
        token: OFFHOOK_DASHBOARD_TOKEN.
        render: renders a template, given its name and values.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        render: Callable[..., str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._token = _digest(token)
        self._key = hmac.digest(token.encode(), b"offhook dashboard", hashlib.sha256)
        self._render = render
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque(maxlen=_ALL)  # when, and from where
        self._ended: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to an `http` request, or pass it to the dashboard."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except HTTPException as error:
            answer = PlainTextResponse(f"{error.detail}\n", error.status_code, _FRESH)
        app = self._app if answer is None else answer
        await app(scope, receive, with_headers(send))

    async def _answer(self, request: Request) -> Response | None:
        """Return the response if the dashboard must not respond; None with a valid login."""
        if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"} and (
            request.method != "GET" or request.headers.get("sec-fetch-mode") != "navigate"
        ):
            return PlainTextResponse("Cross-site request refused.\n", HTTPStatus.FORBIDDEN, _FRESH)
        # Not `request.url`: it depends on the Host header, which the client chooses.
        path, login = request.scope["path"], self._login_of(request)
        # Without a login, no form can carry the right token.
        request.scope[CSRF] = self._sign(f"csrf {login}") if login else secrets.token_urlsafe()
        if path == LOGIN:
            return await self._log_in(request) if request.method == "POST" else self._form(request)
        if path.startswith(_OPEN):
            return None
        if not login:
            return self._require_login(request)
        if path == LOGOUT:
            return await self._log_out(request, login)
        return None

    def _require_login(self, request: Request) -> Response:
        if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Log in first.\n", HTTPStatus.UNAUTHORIZED, _FRESH)
        query = request.scope["query_string"].decode("latin-1")
        wanted = quote(request.scope["path"]) + (f"?{query}" if query else "")
        return _to(f"{LOGIN}?{urlencode({'next': wanted})}")

    def _form(self, request: Request, problem: str = "", status: int = HTTPStatus.OK) -> Response:
        wanted = _safe(request.query_params.get("next", ""))
        html = self._render("login.html", problem=problem, next=wanted, csrf="")
        return HTMLResponse(html, status, _FRESH)

    async def _log_in(self, request: Request) -> Response:
        given = parameters(await read_body(request)).get("token", "")
        # No await from here on: concurrent attempts are counted one by one.
        address = request.client.host if request.client else ""
        if wait := self._lockout(address):
            problem = f"Too many wrong tokens. Try again in {wait}."
            return self._form(request, problem, HTTPStatus.TOO_MANY_REQUESTS)
        if not hmac.compare_digest(_digest(given), self._token):
            self._failures.append((self._clock(), address))
            problem = "Wrong token. Use the value of OFFHOOK_DASHBOARD_TOKEN."
            return self._form(request, problem, HTTPStatus.FORBIDDEN)
        answer = _to(_safe(request.query_params.get("next", "")))
        login = f"{int(self._clock() + SESSION_SECONDS)}.{secrets.token_urlsafe(16)}"
        answer.set_cookie(
            cookie_name(request, COOKIE),
            f"{login}.{self._sign(f'login {login}')}",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=_is_over_tls(request),
        )
        return answer

    def _lockout(self, address: str) -> str:
        """Return how long logins from an address are refused; empty if they are not."""
        now = self._clock()
        if sum(at > now - _HOUR for at, _ in self._failures) >= _ALL:
            return "an hour"
        last_minute = [origin for at, origin in self._failures if at > now - _MINUTE]
        return "a minute" if last_minute.count(address) >= _EACH else ""

    async def _log_out(self, request: Request, login: str) -> Response:
        given = parameters(await read_body(request)).get("csrf", "")
        if not hmac.compare_digest(given.encode(), request.scope[CSRF].encode()):
            return PlainTextResponse(
                "Log out with the button on a page.\n", HTTPStatus.FORBIDDEN, _FRESH
            )
        now = self._clock()
        self._ended = {one: end for one, end in self._ended.items() if end > now}
        self._ended[login] = now + SESSION_SECONDS
        answer = _to(LOGIN)
        answer.delete_cookie(cookie_name(request, COOKIE))
        return answer

    def _login_of(self, request: Request) -> str:
        """Return the login of a request's cookie; empty if it is invalid or has expired."""
        cookie = request.cookies.get(cookie_name(request, COOKIE), "")
        login, _, signature = cookie[:_MAX_COOKIE].rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(f"login {login}").encode()):
            return ""
        if login in self._ended or int(login.partition(".")[0]) < self._clock():
            return ""
        return login

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()


def _digest(token: str) -> bytes:
    """Return a digest to compare: of one length for any token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _is_over_tls(request: Request) -> bool:
    """Return whether the browser uses TLS; a false header only costs its sender the cookie."""
    return "https" in {request.scope["scheme"], request.headers.get("x-forwarded-proto")}


def _safe(wanted: str) -> str:
    """Return the page to show after the login; never one of another site."""
    ours = wanted == PATH or wanted.startswith((f"{PATH}/", f"{PATH}?"))
    return wanted if ours and wanted.isprintable() and "\\" not in wanted else PATH


def _to(url: str) -> Response:
    return RedirectResponse(url, HTTPStatus.SEE_OTHER, _FRESH)
