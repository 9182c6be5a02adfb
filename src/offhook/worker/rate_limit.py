"""Limit the messages of one sender that are handled; the worker parks what exceeds the limit.

Counted in fixed windows of the time of receipt: what one person has sent within a minute belongs to
that minute, however long it waited for a worker.
"""

import hmac
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

from offhook.clock import steady
from offhook.core.ttl_dict import TtlDict
from offhook.events import Observer
from offhook.ports import Admission, SenderLimit
from offhook.settings import Settings

SENDERS: Final = 100_000
"""Counts that a process keeps; the sender who has been silent for longest is forgotten first."""

LATE: Final = 3600
"""Seconds that a count is kept for beyond its window: messages may be handled long after it."""

_SALT: Final = b"offhook sender limit 1"


def open_sender_limit(settings: Settings, observer: Observer) -> SenderLimit | None:
    """Return the sender limit of the settings; None without one.

    Args:
        settings: `sender_limit`, `cache` and `auth_token` are read.
        observer: called when Redis becomes unavailable, and when it is available again.

    Raises:
        SettingsError: the cache's URL cannot be read.
    """
    if settings.sender_limit is None:
        return None
    amount, seconds = settings.sender_limit
    windows = Windows(amount, int(seconds), settings.auth_tokens)
    url = settings.cache.get_secret_value()
    if url == "memory://":
        return LocalLimit(windows)
    # Imported when asked for: it takes 0.2 s, and most have no Redis.
    from offhook.worker.shared_rate_limit import SharedLimit  # noqa: PLC0415

    return SharedLimit(windows, url, observer)


class Windows:
    """Names the counts, and says what a count means.

    Args:
        amount: messages of a sender that are admitted in each window.
        seconds: of a window.
        tokens: make the secret in the names.

    Attributes:
        kept: seconds for which a count is kept after its last message.
    """

    def __init__(self, amount: int, seconds: int, tokens: Iterable[str]) -> None:
        self._amount = amount
        self._seconds = seconds
        self.kept = seconds + LATE
        # A keyed hash: an unkeyed one of a phone number can be reversed by enumeration.
        self._secret = hmac.digest(_SALT, "\0".join(sorted(tokens)).encode(), "sha256")

    def key(self, account_sid: str, sender: str, received: float) -> str:
        """Return the name of the count that a message belongs to."""
        name = f"{account_sid}\0{sender}".encode("utf-8", "surrogatepass")
        digest = blake2b(name, key=self._secret, digest_size=16).hexdigest()
        return f"offhook:senders:{self._seconds}:{received // self._seconds:.0f}:{digest}"

    def admission(self, count: int) -> Admission:
        """Return whether the last of `count` messages is within the limit."""
        if count <= self._amount:
            return Admission.ADMITTED
        return Admission.FIRST_EXCESS if count == self._amount + 1 else Admission.EXCESS


class LocalLimit:
    """Implements `ports.SenderLimit` for this process: each worker counts what it runs itself."""

    def __init__(self, windows: Windows, *, clock: Callable[[], float] = steady) -> None:
        self._windows = windows
        self._clock = clock
        self._counts: TtlDict[str, int] = TtlDict(entries=SENDERS, size=SENDERS)

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count one message."""
        key, now = self._windows.key(account_sid, sender, received), self._clock()
        count = (self._counts.get(key, now) or 0) + 1
        self._counts.put(key, count, expires=now + self._windows.kept, now=now)
        return self._windows.admission(count)

    async def close(self) -> None:
        """Do nothing."""
