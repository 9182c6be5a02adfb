"""What the services ask of the world besides a store: protocols whose docstrings are the contracts.

The store's are in `stores.api`.
"""

from collections.abc import Awaitable
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol

from offhook.core.account import Login
from offhook.core.responses import Answer


class Admission(Enum):
    """Whether a sender's message is within the limit."""

    ADMITTED = auto()
    FIRST_EXCESS = auto()  # too many, and the first such message in this window
    EXCESS = auto()


class SenderLimit(Protocol):
    """Counts the messages of each sender, in windows of the time of receipt."""

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count a message of a sender; say whether it is too many.

        Workers agree as far as they share a count. It answers within a tenth of a second, and
        raises nothing. Asked twice for a message, it counts it twice.
        """
        ...

    async def close(self) -> None:
        """Let go. May be called twice."""
        ...


class Logins(Protocol):
    """Has what each account logs in with at Twilio's REST API."""

    async def login(self, account_sid: str) -> Login:
        """Return an account's login, within two seconds.

        Raises:
            CredentialsUnavailable: it is not to be had at present. Never another account's.
        """
        ...

    def refused(self, account_sid: str) -> None:
        """Note that Twilio has refused an account's login: it may have been replaced."""
        ...


class CachedVerdict(StrEnum):
    """What was found out about a request."""

    VALID = "valid"  # it is Twilio's, and the store has it
    REFUSED = "refused"  # it is not to be believed, and never will be as it is


class ValidationCacheEntry(NamedTuple):
    """What is remembered of one exact request.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        answer: what it was answered, and is answered again.
        time: when, in seconds since the epoch.
        message_sid: Twilio's MessageSid; empty for what was not believed.
        sender: From, likewise.
    """

    verdict: CachedVerdict
    answer: Answer
    time: float
    message_sid: str = ""
    sender: str = ""


class ValidationCache(Protocol):
    """Requests that were answered, by fingerprint. It saves time and decides nothing.

    The store's unique keys are the only truth: a cache may forget anything at any moment. What it
    must not do is invent: an entry is only returned for the fingerprint it was put under, by this
    deployment, no longer ago than its time to live.
    """

    @property
    def secret(self) -> bytes:
        """The key of the fingerprints, see `core.requests.Request.fingerprint`."""
        ...

    def get(self, key: bytes) -> ValidationCacheEntry | None:
        """Return what this process remembers, at once."""
        ...

    def ask(self, key: bytes) -> Awaitable[ValidationCacheEntry | None] | None:
        """Ask other processes; return None if there are none, or if it is not worthwhile.

        The awaitable answers within 20 ms, with None when it can't be known. It raises nothing.
        """
        ...

    def put(self, key: bytes, entry: ValidationCacheEntry, *, repeat: bool = False) -> None:
        """Remember an answer that has been given. Never waits, and raises nothing.

        `repeat` says that the store knew the webhook, though `get` and `ask` did not.
        """
        ...

    async def start(self) -> None:
        """Connect, if there is anything to connect to. One that is away is no error."""
        ...

    async def close(self) -> None:
        """Let go. May be called twice."""
        ...
