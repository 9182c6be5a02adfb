"""Form bodies, decoded the way Twilio's signature reads them: every field, blanks too."""

from binascii import a2b_qp
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final, Self
from urllib.parse import parse_qsl

# Twilio documents about 60 parameters for a message; its 64 KiB limit on a body (error 11750)
# holds far more fields than any message has. This bounds the work an unsigned request can cause.
MAX_FIELDS: Final = 1_000


class Refusal(StrEnum):
    """Why a request was not accepted as Twilio's, as sent in the header `X-Offhook-Error`."""

    MISSING_SIGNATURE = "missing-signature"
    SIGNATURE_MISMATCH = "signature-mismatch"
    NO_AUTH_TOKEN = "no-auth-token"  # noqa: S105 - the name of a reason, not a token
    MALFORMED_FORM = "malformed-form"
    NOT_UTF8 = "not-utf8"
    UNSUPPORTED_CONTENT_TYPE = "unsupported-content-type"
    MISSING_BODY_HASH = "missing-body-hash"
    BODY_HASH_MISMATCH = "body-hash-mismatch"
    TOO_MANY_FIELDS = "too-many-fields"
    MALFORMED_URL = "malformed-url"


class FormError(ValueError):
    """A body can't be decoded as a form; `refusal` is the reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """The decoded fields of one request, in the order received, blank values kept.

    `first` maps each name to its first value and is to be read only; `all` holds every field when
    a name came more than once, which no message has. `repr` shows neither: logs must not contain
    people's texts. `Form.of` makes one from pairs.
    """

    first: Mapping[str, str] = field(repr=False)
    all: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Form) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """Return the form of these names and values, in their order."""
        fields = tuple(pairs)
        first = dict(fields)
        if len(first) == len(fields):
            return cls(first)
        return cls(dict(reversed(fields)), fields)  # of several values the last stays

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """All names and values."""
        return tuple(self.first.items()) if self.all is None else self.all

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of `name`, or `default` when it was not sent."""
        return self.first.get(name, default)

    def signed_text(self) -> str:
        """Return names and values as a signature covers them: sorted, repeated pairs once.

        Python compares text by code point, which is the order of its UTF-8 bytes, and so what
        Twilio calls "Unix-style case-sensitive".
        """
        first = self.first
        if self.all is None:
            return "".join([name + first[name] for name in sorted(first)])
        return "".join(chain.from_iterable(sorted(set(self.all))))


def decode_form(body: bytes) -> Form:
    """Decode an `application/x-www-form-urlencoded` body, or the query of a GET.

    `+` is a space, a name without `=` has a blank value, and empty segments (`a=1&&b=2`) are
    no fields. Nothing is trimmed, guessed or replaced.

    Raises `FormError`: `too-many-fields` beyond `MAX_FIELDS` segments, `not-utf8` for bytes or
    escapes that are not UTF-8, `malformed-form` for a `%` without two hexadecimal digits.

    Source: WHATWG URL, section 5.1, but strict where that replaces what it cannot decode: a
    body that was changed on its way must not look like one that was not.
    """
    segments = body.count(b"&") + 1
    if segments > MAX_FIELDS:
        raise FormError(Refusal.TOO_MANY_FIELDS)
    first = _plain(body, segments)
    return Form(first) if first is not None else Form.of(_strict(body))


def parameters(form: bytes) -> dict[str, str]:
    """Return the parameters of a stored form, for display: invalid UTF-8 is replaced.

    Of several values under one name the first counts, as it does for handlers (`Form.first`).
    """
    first: dict[str, str] = {}
    for name, value in parse_qsl(form.decode("latin-1"), keep_blank_values=True, encoding="utf-8"):
        first.setdefault(name, value)
    return first


# `&` and `=` become the separator of names and values, `+` a space, and `%` the escape of
# quoted-printable (RFC 2045, 6.7), which is decoded in C.
_QUOTED_PRINTABLE: Final = bytes.maketrans(b"&=+%", b"\0\0 =")
_NO_SEPARATORS: Final = bytes(set(range(256)) - set(b"&="))


def _plain(body: bytes, segments: int) -> dict[str, str] | None:
    """Decode a form the way Twilio writes one, in C.

    None for any other, which `_strict` decodes or refuses: a field without `=` or with several, a
    name that comes twice, a raw line end, NUL, or whatever is malformed.
    """
    # In quoted-printable, `=` before a line end is a soft line break.
    if b"\n" in body or b"\r" in body:
        return None
    if body.translate(None, _NO_SEPARATORS) != (b"=&" * segments)[:-1]:
        return None
    quoted = body.translate(_QUOTED_PRINTABLE)
    plain = a2b_qp(quoted)
    # A valid escape has become two bytes shorter, a malformed one shorter by one at most.
    if len(quoted) - len(plain) != 2 * quoted.count(b"="):
        return None
    try:
        parts = plain.decode().split("\0")
    except UnicodeDecodeError:
        return None
    if len(parts) != 2 * segments:  # there is a NUL, raw or escaped
        return None
    each = iter(parts)
    first = dict(zip(each, each, strict=True))
    return first if len(first) == segments else None


def _strict(body: bytes) -> Iterator[tuple[str, str]]:
    """Decode any form, field by field."""
    for segment in body.replace(b"+", b" ").split(b"&"):
        if segment:
            name, _, value = segment.partition(b"=")
            yield _unquoted(name), _unquoted(value)


def _unquoted(quoted: bytes) -> str:
    head, *escaped = quoted.split(b"%")
    try:
        plain = head + b"".join([_ESCAPES[part[:2]] + part[2:] for part in escaped])
    except KeyError:
        raise FormError(Refusal.MALFORMED_FORM) from None
    try:
        return plain.decode()
    except UnicodeDecodeError:
        raise FormError(Refusal.NOT_UTF8) from None


# Every pair of hexadecimal digits, in any case, and their byte.
_ESCAPES: Final[Mapping[bytes, bytes]] = {
    (high + low).encode(): bytes((int(high + low, 16),))
    for high in "0123456789abcdefABCDEF"
    for low in "0123456789abcdefABCDEF"
}
