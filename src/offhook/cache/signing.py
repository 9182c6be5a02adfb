"""Sign cache entries, so that a shared Redis cannot forge them."""

import hmac
import socket
import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from offhook.cache.memory import MAX_TEXT
from offhook.core.connection_uri import sqlite_file
from offhook.core.keys import Kind
from offhook.core.requests import SECRET_BYTES
from offhook.core.responses import STORED
from offhook.ports import CachedVerdict, ValidationCacheEntry

MAC_BYTES: Final = 16

CLOCK_SKEW: Final = 60.0
"""Seconds by which another machine's clock may be ahead of ours."""

_VERSION: Final = 1
# version, kind, time, the texts' lengths
_HEAD: Final = struct.Struct("!BBdHH")
_CODES: Final = {STORED[Kind.MESSAGE]: 0, STORED[Kind.STATUS]: 1}
_ANSWERS: Final = {code: answer for answer, code in _CODES.items()}

_SALT: Final = b"offhook validation cache 1"


class EntrySigner:
    """Signs entries, and accepts only those of the same deployment with the same store.

    A MAC under a key derived from the auth tokens and the store covers the entry and its
    fingerprint: a shared, stale or hostile Redis can neither make one up, nor move one to another
    request. The MAC covers the time as well, so an entry that Redis has kept too long is refused.

    Args:
        tokens: the auth tokens, not empty; their order does not matter.
        store: what names the store, see `store_identity`.
        ttl: seconds an entry may be old.
    """

    def __init__(self, *, tokens: Iterable[str], store: str, ttl: float) -> None:
        # As HKDF (RFC 5869) extracts and expands, with SHA-256, a block for each key.
        material = b"".join(_sized(part) for part in (*sorted(tokens), store))
        root = hmac.digest(_SALT, material, "sha256")
        self.secret = hmac.digest(root, b"fingerprint\x01", "sha256")[:SECRET_BYTES]
        self._key = hmac.digest(root, b"entry\x01", "sha256")
        self._ttl = ttl

    def sign(self, key: bytes, entry: ValidationCacheEntry) -> bytes | None:
        """Return an entry's bytes with their MAC; None for one that is not shared.

        Only valid ones are: a flood of forged requests must not become a flood of writes.
        """
        code = _CODES.get(entry.answer)
        sid, sender = entry.message_sid.encode(), entry.sender.encode()
        if entry.verdict is not CachedVerdict.VALID or code is None:
            return None
        if len(sid) > MAX_TEXT or len(sender) > MAX_TEXT:
            return None
        text = _HEAD.pack(_VERSION, code, entry.time, len(sid), len(sender)) + sid + sender
        return text + self._mac(key, text)

    def verified(self, key: bytes, signed: object, now: float) -> ValidationCacheEntry | None:
        """Return the entry if its MAC fits this fingerprint and it is not too old; else None."""
        if not isinstance(signed, bytes) or len(signed) < _HEAD.size + MAC_BYTES:
            return None
        text, mac = signed[:-MAC_BYTES], signed[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(key, text)):
            return None
        # From here on it was written by this deployment, perhaps by another version of offhook.
        version, code, written, sid_length, sender_length = _HEAD.unpack_from(text)
        if version != _VERSION or not -CLOCK_SKEW < now - written < self._ttl:
            return None
        sid = text[_HEAD.size : _HEAD.size + sid_length].decode()
        sender = text[_HEAD.size + sid_length : _HEAD.size + sid_length + sender_length].decode()
        return ValidationCacheEntry(CachedVerdict.VALID, _ANSWERS[code], written, sid, sender)

    def _mac(self, key: bytes, text: bytes) -> bytes:
        # The fingerprint is of a fixed length, so no length stands between it and the entry.
        return blake2b(key + text, digest_size=MAC_BYTES, key=self._key).digest()


def store_identity(url: str) -> str:
    """Return a store's identity: its URL without credentials and options; a file's, with its host.

    Args:
        url: as `OFFHOOK_STORE`.
    """
    if (path := sqlite_file(url)) is not None:
        return f"sqlite://{socket.gethostname()}{path}"
    # Not urlsplit: PostgreSQL's URLs may name several hosts, and some versions of Python refuse
    # those of which one is an IPv6 address.
    scheme, _, rest = url.partition("://")
    where, slash, database = rest.partition("?")[0].partition("/")
    return f"{scheme}://{where.rpartition('@')[2].lower()}{slash}{database}"


def _sized(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(4) + encoded
