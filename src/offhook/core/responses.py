"""What a webhook is answered over HTTP: built once, and never a text a person would receive.

Twilio sends a text/plain answer to an inbound message on as an SMS, so errors are empty TwiML
too; their reason stands in a header.
https://www.twilio.com/docs/messaging/twiml and https://www.twilio.com/docs/api/errors/11206
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from offhook.core.forms import Refusal
from offhook.core.keys import Kind

ERROR_HEADER: Final = b"x-offhook-error"

_CLOSE: Final = (b"connection", b"close")

EMPTY_TWIML: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""TwiML that says nothing: the reply comes later, through the REST API."""


class Fault(StrEnum):
    """Why a request was not stored, other than for its signature or form (`Refusal`)."""

    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    MALFORMED_REQUEST = "malformed-request"
    BAD_HOST = "bad-host"
    HOST_NOT_ALLOWED = "host-not-allowed"
    UNSUPPORTED_VERSION = "unsupported-version"
    HEAD_TOO_LARGE = "head-too-large"
    HEAD_TIMEOUT = "head-timeout"
    FRAMING_TOO_LARGE = "framing-too-large"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    BODY_TOO_LARGE = "body-too-large"
    BODY_TIMEOUT = "body-timeout"
    CLIENT_GONE = "client-gone"
    MISSING_MESSAGE_SID = "missing-message-sid"
    MISSING_ACCOUNT_SID = "missing-account-sid"
    MISSING_FROM = "missing-from"
    MISSING_TO = "missing-to"
    MISSING_MESSAGE_STATUS = "missing-message-status"
    RECUT_FIELDS = "recut-fields"
    CONVERSATIONS_EVENT = "conversations-event"
    JSON_BODY = "json-body"
    STORE_UNAVAILABLE = "store-unavailable"
    STORE_TIMEOUT = "store-timeout"
    BACKLOG_FULL = "backlog-full"
    CREDENTIALS_UNAVAILABLE = "credentials-unavailable"
    INTERNAL_ERROR = "internal-error"


Reason = Fault | Refusal


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A whole HTTP answer; `error` is what `X-Offhook-Error` says, empty when it was stored.

    Equal to itself alone, so that it costs little as the key of what was made of it.
    """

    status: int
    error: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


# nginx's code for a request whose sender left; seen in events only, there is nobody to answer.
CLIENT_CLOSED_REQUEST: Final = 499

# What is our own fault is 503, so that Twilio goes to the fallback URL, and repeats the request
# where its connection overrides say so (`rp=5xx`):
# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
_STATUSES: Final[Mapping[Reason, int]] = {
    Refusal.MISSING_SIGNATURE: HTTPStatus.FORBIDDEN,
    Refusal.SIGNATURE_MISMATCH: HTTPStatus.FORBIDDEN,
    Refusal.NO_AUTH_TOKEN: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.MALFORMED_FORM: HTTPStatus.BAD_REQUEST,
    Fault.RECUT_FIELDS: HTTPStatus.BAD_REQUEST,
    Fault.CONVERSATIONS_EVENT: HTTPStatus.BAD_REQUEST,
    Fault.JSON_BODY: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Refusal.NOT_UTF8: HTTPStatus.BAD_REQUEST,
    Refusal.UNSUPPORTED_CONTENT_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Refusal.MISSING_BODY_HASH: HTTPStatus.FORBIDDEN,
    Refusal.BODY_HASH_MISMATCH: HTTPStatus.FORBIDDEN,
    Refusal.TOO_MANY_FIELDS: HTTPStatus.BAD_REQUEST,
    Refusal.MALFORMED_URL: HTTPStatus.BAD_REQUEST,
    Fault.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Fault.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Fault.MALFORMED_REQUEST: HTTPStatus.BAD_REQUEST,
    Fault.BAD_HOST: HTTPStatus.BAD_REQUEST,
    Fault.HOST_NOT_ALLOWED: HTTPStatus.MISDIRECTED_REQUEST,
    Fault.UNSUPPORTED_VERSION: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    Fault.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Fault.HEAD_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    Fault.FRAMING_TOO_LARGE: HTTPStatus.BAD_REQUEST,
    Fault.TOO_MANY_CONNECTIONS: HTTPStatus.SERVICE_UNAVAILABLE,
    Fault.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Fault.BODY_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    Fault.CLIENT_GONE: CLIENT_CLOSED_REQUEST,
    Fault.MISSING_MESSAGE_SID: HTTPStatus.BAD_REQUEST,
    Fault.MISSING_ACCOUNT_SID: HTTPStatus.BAD_REQUEST,
    Fault.MISSING_FROM: HTTPStatus.BAD_REQUEST,
    Fault.MISSING_TO: HTTPStatus.BAD_REQUEST,
    Fault.MISSING_MESSAGE_STATUS: HTTPStatus.BAD_REQUEST,
    Fault.STORE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Fault.STORE_TIMEOUT: HTTPStatus.SERVICE_UNAVAILABLE,
    Fault.BACKLOG_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    Fault.CREDENTIALS_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Fault.INTERNAL_ERROR: HTTPStatus.SERVICE_UNAVAILABLE,
}

# The rest of these requests is not waited for, or where it ends is not to be believed, so their
# connections cannot carry another one.
_CLOSING: Final = frozenset(
    {Fault.BODY_TOO_LARGE, Fault.BODY_TIMEOUT, Fault.BAD_HOST, Fault.UNSUPPORTED_VERSION}
)

_TWIML_HEADERS: Final = (
    (b"content-type", b"text/xml"),
    (b"content-length", str(len(EMPTY_TWIML)).encode()),
)

STORED: Final[Mapping[Kind, Answer]] = {
    Kind.MESSAGE: Answer(HTTPStatus.OK, "", _TWIML_HEADERS, EMPTY_TWIML),
    Kind.STATUS: Answer(HTTPStatus.NO_CONTENT, "", (), b""),
}
"""What a stored webhook is answered, whether it was new or a repeat."""


def _refusal(reason: Reason, status: int) -> Answer:
    closing = (_CLOSE,) if reason in _CLOSING else ()
    headers = (*_TWIML_HEADERS, (ERROR_HEADER, reason.encode()), *closing)
    return Answer(status, reason.value, headers, EMPTY_TWIML)


REFUSED: Final[Mapping[Reason, Answer]] = {
    reason: _refusal(reason, status) for reason, status in _STATUSES.items()
}
"""What a webhook that was not stored is answered; every reason has an answer."""


def method_not_allowed(allowed: tuple[str, ...]) -> Answer:
    """Return the 405 of a route, which names the methods that it does allow (RFC 9110, 15.5.6)."""
    answer = REFUSED[Fault.METHOD_NOT_ALLOWED]
    return replace(answer, headers=(*answer.headers, (b"allow", ", ".join(allowed).encode())))


def encode(
    answer: Answer, fields: Iterable[tuple[bytes, bytes]] = (), *, close: bool = False
) -> bytes:
    """Return an answer as it goes over the wire, byte for byte as uvicorn writes it.

    Args:
        answer: the answer.
        fields: of the server, such as `date`; they precede those of the answer.
        close: the connection ends with it.
    """
    status = HTTPStatus(answer.status)
    headers = [*fields, *answer.headers]
    if close and _CLOSE not in headers:
        headers.append(_CLOSE)
    lines = [b"HTTP/1.1 %d %b" % (status, status.phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", answer.body])
