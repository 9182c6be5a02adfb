"""What tells one request from every other: a digest over all that its answer depends on."""

import struct
from hashlib import blake2b
from typing import Final

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
