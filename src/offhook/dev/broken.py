"""The page that stands in for a bot that could not be reloaded, and says why."""

import importlib
import os
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from offhook.dev.session import Session
from offhook.process import app_loader
from offhook.process.server import server_for, serving
from offhook.web.design import PATH as DESIGN
from offhook.web.design import Assets, shared_templates
from offhook.web.local_only import LocalOnly, TokenAuth

BROKEN_HEADER: Final = "X-Offhook-Broken"
"""Set to 1 on this page, so that the scripts of others know it."""

_HEADERS: Final = {BROKEN_HEADER: "1", "Cache-Control": "no-store"}
_LOADERS: Final = ("<frozen ", importlib.__file__, app_loader.__file__)
_UNKNOWN: Final = "The bot has exited. Its last words are in the terminal."


def write_report(file: Path, error: BaseException) -> None:
    """Write why a bot could not be loaded to a file that only its user can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as opened:  # noqa: PTH123 - a descriptor, not a path
        opened.write(report(error))


def report(error: BaseException) -> str:
    """Return an error, or its cause with the traceback from the user's own code on."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    return "".join(traceback.format_exception(type(cause), cause, _own(cause.__traceback__)))


def _own(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_LOADERS):
        trace = trace.tb_next
    return trace


@asynccontextmanager
async def standing_in(
    listener: socket.socket, session: Session, error: Path
) -> AsyncIterator[None]:
    """Serve the page within the context.

    Args:
        listener: the socket of the bot, which stays open.
        session: the session of this start.
        error: the file with the reason.
    """
    server = server_for(_app(session, _take(error)), drain=0.0, lifespan="off")
    async with serving(server, listener.dup()):  # the server closes its own
        yield


def _take(file: Path) -> str:
    """Return the reason in a file, and remove it: the next end may have none."""
    try:
        reason = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _UNKNOWN
    file.unlink()
    return reason


def _app(session: Session, reason: str) -> Starlette:
    page = shared_templates().get_template("broken.html").render(reason=reason)

    async def refuse(_request: Request) -> Response:
        text = "the bot could not be reloaded: its terminal says why\n"
        return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE, _HEADERS)

    async def show(_request: Request) -> Response:
        return HTMLResponse(page, HTTPStatus.SERVICE_UNAVAILABLE, _HEADERS)

    anything = "/{path:path}"
    pages = [Route(anything, show), Route(anything, refuse, methods=["POST"])]
    shown = TokenAuth(Starlette(routes=pages), session.token)
    return Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse("/phone", HTTPStatus.SEE_OTHER)),
            Mount(DESIGN, LocalOnly(Assets())),
            *(Route(path + rest, shown) for path in _PAGES for rest in ("", "/{rest:path}")),
            Route(anything, refuse, methods=["GET", "POST"]),
        ]
    )


_PAGES: Final = ("/phone", "/dashboard")
