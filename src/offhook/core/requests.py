"""A request to a webhook, as it came over the wire, and what it says of itself."""

import struct
from collections.abc import Callable, Iterable
from enum import Enum, auto
from hashlib import blake2b
from typing import Final, NamedTuple

from offhook.core.forms import MAX_FIELDS, Form, FormError, Refusal, decode_form
from offhook.core.hosts import host_name
from offhook.core.keys import Kind

FINGERPRINT_BYTES: Final = 32
SECRET_BYTES: Final = 32

# The lengths of all parts but the last, so that no two requests have the same bytes when joined:
# those of texts in characters, since all are encoded in one go.
_LENGTHS: Final = struct.Struct("!IIIIIII")
_ABSENT: Final = 0xFFFFFFFF

_FORM: Final = "application/x-www-form-urlencoded"


class MediaType(Enum):
    """What a body is, by its content type."""

    FORM = auto()
    FORM_NOT_UTF8 = auto()  # in another charset, by its own account
    JSON = auto()
    JSON_NOT_UTF8 = auto()
    OTHER = auto()


def _none() -> tuple[str, ...]:
    return ()


class Request(NamedTuple):
    """A request to a webhook.

    A named tuple, because one is made for each request: a frozen dataclass of ten fields costs
    2.3 us, this 0.4.

    Attributes:
        base: the public URL up to the path, without a slash at its end.
        path: the raw path, query: the raw query; nothing decoded.
        content_type, signature: the headers' values; an absent content type is None, which is not
            the same as an empty one.
        started: when it arrived, by `time.perf_counter`.
        other_bases: returns what else Twilio may have called it by; called only when the
            signature does not fit, for the operator.
    """

    kind: Kind
    method: str
    base: str
    path: str
    query: bytes
    content_type: str | None
    signature: str
    body: bytes
    started: float
    other_bases: Callable[[], Iterable[str]] = _none

    def __repr__(self) -> str:
        """Leave out what must not be logged: all that a person wrote, and the signature."""
        return f"Request({self.kind}, {self.method} {self.base + self.path!a})"

    @property
    def url(self) -> str:
        """The URL as Twilio called, and signed, it."""
        if not self.query:
            return self.base + self.path
        return f"{self.base}{self.path}?{self.query_text}"

    @property
    def query_text(self) -> str:
        """The query as text; bytes that are not UTF-8 stay recognisable as such."""
        return self.query.decode("utf-8", "surrogateescape")

    @property
    def host(self) -> str | None:
        """The name or address in the public URL, as of `core.hosts.host_name`."""
        return host_name(self.base.partition("://")[2])

    @property
    def bodiless(self) -> bool:
        """Whether the parameters are in the query: a body has no meaning (RFC 9110, 9.3.1)."""
        return self.method in {"GET", "HEAD"}

    @property
    def media_type(self) -> MediaType:
        """What the body of a POST is; one that is empty and says nothing is an empty form."""
        if self.content_type == _FORM:  # as every message has it; the rest is for everything else
            return MediaType.FORM
        media_type, *parameters = (self.content_type or "").lower().split(";")
        media_type = media_type.strip()
        utf8 = all(map(_is_utf8, parameters))
        if media_type == _FORM or (not media_type and not self.body):
            return MediaType.FORM if utf8 else MediaType.FORM_NOT_UTF8
        if media_type == "application/json" or media_type.endswith("+json"):
            return MediaType.JSON if utf8 else MediaType.JSON_NOT_UTF8
        return MediaType.OTHER

    @property
    def is_form(self) -> bool:
        """Whether the body of a POST claims to be a form, in whatever charset."""
        return self.media_type in {MediaType.FORM, MediaType.FORM_NOT_UTF8}

    def form(self) -> Form:
        """Decode the parameters: the query of a GET, the body of a POST.

        Raises:
            FormError: it is no form.
        """
        return decode_form(self.query if self.bodiless else self.body)

    def parameters(self) -> bytes:
        """Return the parameters to store.

        A POST's query belongs to them: the status callbacks of our sends carry their ledger's id
        in it. It comes second, so that of two values under one name the form's counts.

        Raises:
            FormError: both together can't be decoded, and so could never be read.
        """
        if self.bodiless:
            return self.query
        if not self.query:
            return self.body
        decode_form(self.query)
        both = self.body + b"&" + self.query
        if both.count(b"&") >= MAX_FIELDS:
            raise FormError(Refusal.TOO_MANY_FIELDS)
        return both

    def fingerprint(self, secret: bytes, kind: str = "") -> bytes:
        """Return the 32 bytes that stand for this exact request, and for no other.

        Over all of it, never less: a digest without the body, say, would let a forged body pass as
        the repeat of a genuine one.

        Args:
            secret: keys the digest, so that a reader can't confirm a guess of what was written.
            kind: what else to tell apart; by default the route's.
        """
        route, method, base, path, query, content_type, signature, body, _, _ = self
        kind = kind or route
        # surrogatepass: whatever text a header or path became, different texts give different
        # bytes.
        text = f"{kind}{method}{base}{path}{content_type or ''}{signature}"
        lengths = _LENGTHS.pack(
            len(kind),
            len(method),
            len(base),
            len(path),
            _ABSENT if content_type is None else len(content_type),
            len(signature),
            len(query),
        )
        data = b"".join((lengths, text.encode("utf-8", "surrogatepass"), query, body))
        return blake2b(data, digest_size=FINGERPRINT_BYTES, key=secret).digest()


def _is_utf8(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    # US-ASCII is a part of UTF-8, and a form's escapes are judged on their own.
    return name.strip() != "charset" or value.strip().strip('"') in {"utf-8", "utf8", "us-ascii"}
