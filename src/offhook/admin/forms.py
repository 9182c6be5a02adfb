"""Read the dashboard's forms and paths, and redirect to its pages."""

import asyncio
import hmac
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from offhook.core.forms import parameters
from offhook.errors import ConfigurationError

PATH: Final = "/dashboard"

CSRF: Final = "offhook.csrf"
"""The scope key of the CSRF token that forms must carry; set by `Login`."""

FRESH: Final = {"Cache-Control": "no-store"}

_MAX_FORM: Final = 4096  # bytes; it holds a token
_FORM_TIMEOUT: Final = 5.0  # seconds for a form to arrive, as `body_timeout` has it for webhooks
_ID: Final = re.compile(r"[0-9]{1,18}")  # what a store can hold


def seen(form: Mapping[str, str]) -> int:
    """Return the highest number among what was shown on the confirmation page.

    Raises:
        ConfigurationError: the form does not have it.
    """
    text = form.get("upto", "")
    if not _ID.fullmatch(text):
        raise ConfigurationError("the form does not say what was shown: reload the page")
    return int(text)


def id_of(request: Request) -> int:
    """Return the number of the message or the reply that a path names.

    Raises:
        HTTPException: it is none.
    """
    text = request.path_params["id"]
    if not _ID.fullmatch(text):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such message or reply.")
    return int(text)


def csrf_token(request: Request) -> str:
    """Return the CSRF token of a request; empty behind `TokenAuth`, which checks the origin."""
    return str(request.scope.get(CSRF, ""))


async def read_form(request: Request) -> Mapping[str, str]:
    """Return a form, after checking its CSRF token.

    Raises:
        ConfigurationError: the token is wrong.
        HTTPException: see `read_body`.
    """
    form = parameters(await read_body(request))
    if not hmac.compare_digest(form.get("csrf", "").encode(), csrf_token(request).encode()):
        raise ConfigurationError("this form belongs to another login: go back and reload the page")
    return form


async def read_body(request: Request, *, within: float = _FORM_TIMEOUT) -> bytes:
    """Return the body of a form.

    Args:
        request: the request.
        within: seconds.

    Raises:
        HTTPException: it is too large (413), late (408), or the client disconnected (400).
    """
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    raise HTTPException(status, "The form is too large.")
    except TimeoutError:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, "The form did not arrive in time."
        ) from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The form is incomplete.") from None
    return bytes(body)


def redirect(url: str) -> Response:
    """Return the response that leads to a page after an action."""
    return RedirectResponse(url, HTTPStatus.SEE_OTHER, FRESH)
