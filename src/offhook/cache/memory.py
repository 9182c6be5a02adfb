"""The first tier: the answers of this process."""

import secrets
import time
from collections.abc import Callable
from typing import Final

from offhook.core.requests import FINGERPRINT_BYTES, SECRET_BYTES
from offhook.core.ttl_dict import TtlDict
from offhook.ports import CachedVerdict, ValidationCacheEntry

# At 1,000 webhooks a second the valid entries go back half a minute: longer than Twilio waits for
# an answer (15 s, https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides) before
# it repeats a request.
VALID_ENTRIES: Final = 32_768
VALID_BYTES: Final = 24 * 1024 * 1024
# Limits of their own: forged requests, however many, evict each other and no valid entry.
REFUSED_ENTRIES: Final = 4_096
REFUSED_BYTES: Final = 2 * 1024 * 1024

REFUSED_TTL: Final = 10.0
"""Seconds a refusal is kept: a corrected setting or a rotated token should take effect soon."""

MAX_TEXT: Final = 256
"""Characters of a SID or an address; an entry with a longer one is not kept."""

# Bytes that an entry takes besides its texts (measured with tracemalloc, CPython 3.11).
_OVERHEAD: Final = 500


class MemoryCache:
    """Implements `ports.ValidationCache` in this process' memory.

    Args:
        ttl: seconds a valid entry lives; a refusal lives for 10 at most.
        secret: the key of the fingerprints; None for a random one.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        ttl: float,
        secret: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        self._clock = clock
        self._ttl = ttl
        self._valid: TtlDict[bytes, ValidationCacheEntry] = TtlDict(
            entries=VALID_ENTRIES, size=VALID_BYTES
        )
        self._refused: TtlDict[bytes, ValidationCacheEntry] = TtlDict(
            entries=REFUSED_ENTRIES, size=REFUSED_BYTES
        )

    @property
    def secret(self) -> bytes:
        """The key of the fingerprints."""
        return self._secret

    def get(self, key: bytes) -> ValidationCacheEntry | None:
        """Return the entry, if there is one."""
        now = self._clock()
        found = self._valid.get(key, now)
        return self._refused.get(key, now) if found is None else found

    def ask(self, key: bytes) -> None:
        """Return None: there is no second tier."""

    def put(self, key: bytes, entry: ValidationCacheEntry, *, repeat: bool = False) -> None:  # noqa: ARG002 - the port's
        """Keep an answer."""
        self.keep(key, entry, self._ttl)

    def keep(self, key: bytes, entry: ValidationCacheEntry, seconds: float) -> None:
        """Keep an answer for so many seconds, a refusal for no more than 10."""
        sid, sender = entry.message_sid, entry.sender
        if len(sid) > MAX_TEXT or len(sender) > MAX_TEXT:
            return
        now = self._clock()
        size = _OVERHEAD + FINGERPRINT_BYTES + 4 * (len(sid) + len(sender))
        if entry.verdict is CachedVerdict.VALID:
            self._valid.put(key, entry, expires=now + seconds, now=now, size=size)
        else:
            expires = now + min(seconds, REFUSED_TTL)
            self._refused.put(key, entry, expires=expires, now=now, size=size)

    async def start(self) -> None:
        """Do nothing: there is no connection."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""
