"""Auth tokens: from the settings, or looked up for each account by the user's own function."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from offhook.core.ttl_dict import TtlDict
from offhook.errors import CredentialsUnavailable
from offhook.events import Incident, Observer, Topic
from offhook.settings import Settings

Lookup = Callable[[str], Awaitable[str | Sequence[str] | None]]
"""The user's `@app.credentials`: takes an account SID, returns its token, tokens, or None."""

KNOWN_TTL: Final = 300.0
UNKNOWN_TTL: Final = 10.0
"""Seconds until an unknown account is looked up again: a new tenant must not wait for long."""

FAILED_TTL: Final = 1.0
"""Seconds after a failure without another lookup: a failing source needs no crowd."""

REFRESH_AFTER: Final = 1.0
"""Seconds after which a token that does not fit is looked up again; it may have been rotated."""

LOOKUP_TIMEOUT: Final = 10.0
"""Seconds for one lookup. The request that began it gives up earlier; a later one may use it."""

MAX_LOOKUPS: Final = 100
"""Lookups at once: account SIDs are easily made up."""

_ACCOUNTS: Final = 10_000  # known at a time, and as many unknown ones apart from them


class _Tokens(NamedTuple):
    tokens: tuple[str, ...]
    asked: float


class Credentials:
    """Returns the tokens that may have signed an account's webhooks.

    The account of the settings has the settings' tokens, whatever the function says; without a
    function, all accounts have them. An account that the function does not know gets a random
    token: its requests are refused like any wrong signature, after the same work.

    One object serves one event loop.

    Args:
        settings: `account_sid` and `auth_token` are read, once.
        lookup: the user's function; None for none.
        observer: called when the function fails, and when it works again.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        lookup: Lookup | None,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own_account = settings.account_sid
        self._own_tokens = settings.auth_tokens
        self._lookup = lookup
        self._clock = clock
        self._unguessable = (secrets.token_hex(16),)
        self._known: TtlDict[str, _Tokens] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._unknown: TtlDict[str, _Tokens] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._failed: TtlDict[str, bool] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._incident = Incident(observer, Topic.CREDENTIALS_UNAVAILABLE)

    @property
    def everywhere(self) -> tuple[str, ...] | None:
        """The tokens of all accounts; None when each has its own."""
        return self._own_tokens if self._lookup is None else None

    async def find(self, account_sid: str) -> tuple[str, ...]:
        """Return an account's tokens, at least one.

        Callers that need the same account share one lookup. It goes on when they have given up,
        for the next ones.

        Args:
            account_sid: as the request claims; empty if it can't be genuine for any account.

        Raises:
            CredentialsUnavailable: the function failed, takes too long or is called too often.
        """
        if self._lookup is None or account_sid == self._own_account:
            return self._own_tokens
        if not account_sid:
            return self._unguessable
        now = self._clock()
        found = self._known.get(account_sid, now) or self._unknown.get(account_sid, now)
        return await self._ask(account_sid) if found is None else found.tokens

    async def renewed(self, account_sid: str) -> tuple[str, ...] | None:
        """Look an account's tokens up again after a signature did not fit; return newer ones.

        None when there is nothing newer, or it was asked for within the last second.

        Raises:
            CredentialsUnavailable: as of `find`; whether there are newer ones is not known.
        """
        found = self._known.get(account_sid, self._clock())
        if found is None or self._clock() - found.asked < REFRESH_AFTER:
            return None
        tokens = await self._ask(account_sid)
        return None if tokens == found.tokens else tokens

    async def close(self) -> None:
        """Cancel the lookups that are running."""
        calls = tuple(self._asking.values())
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    async def _ask(self, account_sid: str) -> tuple[str, ...]:
        call = self._asking.get(account_sid)
        if call is None:
            if self._failed.get(account_sid, self._clock()):
                raise CredentialsUnavailable("they could not be had a moment ago")
            if len(self._asking) >= MAX_LOOKUPS:
                raise CredentialsUnavailable(f"{MAX_LOOKUPS} accounts are being looked up")
            call = asyncio.create_task(self._call(account_sid), name="offhook credentials")
            self._asking[account_sid] = call
            call.add_done_callback(lambda ended: self._end(account_sid, ended))
        return await asyncio.shield(call)

    def _end(self, account_sid: str, call: asyncio.Task[tuple[str, ...]]) -> None:
        del self._asking[account_sid]
        if not call.cancelled():
            call.exception()  # retrieved: all callers may have given up

    async def _call(self, account_sid: str) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                # There is a function, or `find` would not have come here.
                given = await self._lookup(account_sid) if self._lookup else None
            tokens = _read(given)
        except Exception as error:
            now = self._clock()
            self._failed.put(account_sid, value=True, expires=now + FAILED_TTL, now=now)
            # Its type, not its text, which may quote a token.
            self._incident.begin(f"@app.credentials failed: {type(error).__name__}")
            raise CredentialsUnavailable(f"@app.credentials: {type(error).__name__}") from error
        self._incident.end("@app.credentials works again")
        self._keep(account_sid, tokens)
        return tokens or self._unguessable

    def _keep(self, account_sid: str, tokens: tuple[str, ...]) -> None:
        now = self._clock()
        if tokens:
            found = _Tokens(tokens, now)
            self._known.put(account_sid, found, expires=now + KNOWN_TTL, now=now)
        else:
            self._known.drop(account_sid)
            found = _Tokens(self._unguessable, now)
            self._unknown.put(account_sid, found, expires=now + UNKNOWN_TTL, now=now)


def _read(given: object) -> tuple[str, ...]:
    """Return what the function gave as tokens; none for an unknown account.

    Raises:
        TypeError: it gave something else.
        ValueError: it gave half a surrogate pair, which can sign nothing.
    """
    if given is None:
        return ()
    tokens = (given,) if isinstance(given, str) else given
    if not isinstance(tokens, Sequence) or not all(isinstance(token, str) for token in tokens):
        raise TypeError("@app.credentials returns a token, a sequence of tokens, or None")
    for token in tokens:
        token.encode()  # raises UnicodeEncodeError, a ValueError
    return tuple(token for token in tokens if token)
