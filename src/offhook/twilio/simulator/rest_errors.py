"""Errors and authentication of the simulated REST API."""

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from offhook.core.forms import Form, FormError, decode_form


@dataclass(frozen=True, slots=True)
class RestError:
    """An error of the REST API: https://www.twilio.com/docs/api/errors/<code>."""

    code: int
    message: str
    status: int = 400

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """Return the HTTP response for it."""
        content = {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
        return JSONResponse(content, self.status, headers)


NOT_FOUND: Final = RestError(20404, "The requested resource was not found", 404)
INTERNAL: Final = RestError(20500, "An internal server error has occurred", 500)
UNAUTHENTICATED: Final = RestError(20003, "Authenticate", 401)


class Authentication:
    """HTTP Basic authentication with a token of the account, or with an API key.

    A secondary token is accepted like the primary one, and signs nothing until it is promoted.
    https://www.twilio.com/docs/iam/api/authtoken-secondary
    """

    def __init__(self, account_sid: str, *tokens: str) -> None:
        self.account_sid = account_sid
        self.tokens = tokens
        self.api_keys: dict[str, str] = {}

    def refused(self, request: Request) -> RestError | None:
        """Return the error for an unauthorized request; None if it is authorized."""
        given = request.headers.get("Authorization", "").encode("latin-1")
        logins = [*((self.account_sid, token) for token in self.tokens), *self.api_keys.items()]
        if not any(hmac.compare_digest(given, _basic(*login)) for login in logins):
            return UNAUTHENTICATED
        named = request.path_params.get("account", self.account_sid)
        return None if named == self.account_sid else NOT_FOUND


def user_of(request: Request) -> str:
    """Return the user that a request says it is from; empty if none can be read."""
    _, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def form_of(body: bytes) -> Form:
    """Return the posted form; an empty one if it is malformed."""
    try:
        return decode_form(body)
    except FormError:
        return decode_form(b"")
