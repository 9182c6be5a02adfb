"""Form bodies, decoded the way Twilio's signature reads them: every field, blanks too."""

from collections.abc import Iterable, Mapping
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
    if body.count(b"&") >= MAX_FIELDS:
        raise FormError(Refusal.TOO_MANY_FIELDS)
    # One character a byte until the escapes are bytes too. A literal plus is always escaped, so
    # spaces may be put in for all fields at once.
    text = body.decode("latin-1").replace("+", " ")
    try:
        return _form(_unquote(text, _HARMLESS))
    except KeyError:
        return Form.of(_split_then_unquote(text))


def parameters(form: bytes) -> dict[str, str]:
    """Return the parameters of a stored form, for display: invalid UTF-8 is replaced."""
    pairs = parse_qsl(form.decode("latin-1"), keep_blank_values=True, encoding="utf-8")
    return dict(pairs)


# Every pair of hexadecimal digits, in any case, and the character of their byte.
_ESCAPES: Final[Mapping[str, str]] = {
    high + low: chr(int(high + low, 16))
    for high in "0123456789abcdefABCDEF"
    for low in "0123456789abcdefABCDEF"
}
# Unquoting a whole form before it is split saves a fifth of the time (measured, decision 2), and
# comes to the same as long as no delimiter is escaped.
_HARMLESS: Final = {digits: char for digits, char in _ESCAPES.items() if char not in "&="}


def _form(text: str) -> Form:
    """Return the form of a text without escapes."""
    segments = text.split("&")
    try:
        first = dict([segment.split("=", 1) for segment in segments])
    except ValueError:  # an empty segment, or a name without a value
        return Form.of(_split(text))
    return Form(first) if len(first) == len(segments) else Form.of(_split(text))


def _split(text: str) -> list[tuple[str, str]]:
    fields = []
    for segment in text.split("&"):
        name, _, value = segment.partition("=")
        if segment:
            fields.append((name, value))
    return fields


def _split_then_unquote(text: str) -> list[tuple[str, str]]:
    try:
        return [
            (_unquote(name, _ESCAPES), _unquote(value, _ESCAPES)) for name, value in _split(text)
        ]
    except KeyError:
        raise FormError(Refusal.MALFORMED_FORM) from None


def _unquote(text: str, escapes: Mapping[str, str]) -> str:
    """Return `text` with each of `escapes` replaced, then read as UTF-8; others: `KeyError`."""
    head, *escaped = text.split("%")
    text = head + "".join([escapes[part[:2]] + part[2:] for part in escaped])
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise FormError(Refusal.NOT_UTF8) from None
