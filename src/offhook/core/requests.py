"""A webhook's request, as it came over the wire."""

import struct
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from offhook.core.keys import Kind

FINGERPRINT_BYTES: Final = 32

SECRET_BYTES: Final = 32

# The lengths of all parts but the last, so that no two requests have the same bytes when joined:
# those of texts in characters, since all are encoded in one go.
_LENGTHS: Final = struct.Struct("!IIIIIII")

_ABSENT: Final = 0xFFFFFFFF


def fingerprint(
    *,
    secret: bytes,
    kind: str,
    method: str,
    base: str,
    path: str,
    query: bytes,
    content_type: str | None,
    signature: str,
    body: bytes,
) -> bytes:
    """Return the 32 bytes that stand for one exact request, and for no other.

    Over all of it, never less: a digest without the body, say, would let a forged body pass as
    the repeat of a genuine one.

    Args:
        secret: keys the digest, so that who reads it can't confirm a guess of what was written.
        kind: of the route.
        method: of the request.
        base: the public URL up to the path.
        path: the raw path.
        query: the raw query.
        content_type: the header's value; None when it is absent, which is not the same as empty.
        signature: the header's value.
        body: the exact bytes.
    """
    # surrogatepass: whatever text a header or path became, different texts give different bytes.
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


def _none() -> tuple[str, ...]:
    return ()


class Request(NamedTuple):
    """A webhook as it came over the wire.

    A named tuple, because one is made for each request: a frozen dataclass of ten fields costs
    2.3 us, this 0.4.

    Attributes:
        base: the public URL up to the path, without a slash at its end.
        path: the raw path, query: the raw query; nothing decoded.
        started: when it arrived, by `time.perf_counter`.
        other_bases: returns what else Twilio may have called it by; asked only when the
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

    def fingerprint(self, *, secret: bytes, kind: str) -> bytes:
        """Return what stands for this request and no other: see `core.fingerprint`."""
        return fingerprint(
            secret=secret,
            kind=kind,
            method=self.method,
            base=self.base,
            path=self.path,
            query=self.query,
            content_type=self.content_type,
            signature=self.signature,
            body=self.body,
        )
