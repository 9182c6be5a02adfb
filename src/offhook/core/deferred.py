"""A request that can't be verified yet, as it is stored until it can be."""

import base64
from typing import Final, NamedTuple, Self
from urllib.parse import urlencode

from offhook.core.forms import decode_form
from offhook.core.keys import Kind
from offhook.core.requests import Request

# Names that no parameter of Twilio's has, so that a deferred request can't be read as a message.
_KIND, _METHOD, _BASE, _PATH, _QUERY = "kind", "method", "base", "path", "query"
_CONTENT_TYPE, _SIGNATURE, _BODY = "content_type", "signature", "body"
_ACCOUNT: Final = "account"


class Deferred(NamedTuple):
    """A request that can't be verified yet.

    Attributes:
        request: as it came.
        account_sid: of the account that it claims to be for.
    """

    request: Request
    account_sid: str

    @property
    def form(self) -> bytes:
        """The same as a form, which is what stores keep; bytes are in Base64."""
        request = self.request
        fields = {
            _KIND: request.kind.value,
            _METHOD: request.method,
            _BASE: _base64(request.base),
            _PATH: _base64(request.path),
            _QUERY: _base64(request.query),
            _SIGNATURE: _base64(request.signature),
            _BODY: _base64(request.body),
            _ACCOUNT: self.account_sid,
        }
        if request.content_type is not None:
            fields[_CONTENT_TYPE] = _base64(request.content_type)
        return urlencode(fields).encode()

    @classmethod
    def of(cls, form: bytes) -> Self:
        """Return what `form` was made of.

        Raises:
            ValueError: it is no such form.
        """
        fields = decode_form(form).first
        try:
            request = Request(
                kind=Kind(fields[_KIND]),
                method=fields[_METHOD],
                base=_text(fields[_BASE]),
                path=_text(fields[_PATH]),
                query=_bytes(fields[_QUERY]),
                content_type=_text(fields[_CONTENT_TYPE]) if _CONTENT_TYPE in fields else None,
                signature=_text(fields[_SIGNATURE]),
                body=_bytes(fields[_BODY]),
                started=0.0,
            )
        except KeyError as error:
            raise ValueError(f"a deferred request has no {error}") from None
        return cls(request, fields.get(_ACCOUNT, ""))


def _base64(value: str | bytes) -> str:
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return base64.urlsafe_b64encode(data).decode()


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value)


def _text(value: str) -> str:
    return _bytes(value).decode("utf-8", "surrogatepass")
