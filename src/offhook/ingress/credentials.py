"""Credentials: from the settings, or looked up for each account by the user's own function."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from offhook.core.account import AccountCredentials, Login
from offhook.core.ttl_dict import TtlDict
from offhook.errors import CredentialsUnavailable, OffhookError
from offhook.events import Incidents, Observer, Topic
from offhook.settings import Settings

Lookup = Callable[[str], Awaitable[AccountCredentials | str | Sequence[str] | None]]
"""The user's `@app.credentials`: takes an account SID, returns its credentials, or its token or
tokens alone (a subaccount), or None."""

KNOWN_TTL: Final = 300.0
UNKNOWN_TTL: Final = 10.0
"""Seconds until an unknown account is looked up again: a new tenant must not wait for long."""

FAILED_TTL: Final = 1.0
"""Seconds after a failure without another lookup: a failing source needs no crowd."""

REFRESH_AFTER: Final = 1.0
"""Seconds after which a token that does not fit is looked up again; it may have been rotated."""

LOOKUP_TIMEOUT: Final = 10.0
"""Seconds for one lookup. The request that began it gives up earlier; a later one may use it."""

LOGIN_PATIENCE: Final = 2.0
"""Seconds for which a send waits for a lookup: it has a place that others could use."""

FAILING_FOR: Final = 600.0
"""Seconds for which an account that failed counts as failing, if it is not asked for again: the
longest pause between two tries of a send is half of that."""

MAX_LOOKUPS: Final = 100
"""Lookups at once: account SIDs are easily made up."""

_ACCOUNTS: Final = 10_000  # known at a time, and as many unknown ones apart from them


class _Found(NamedTuple):
    """What is known of an account.

    Attributes:
        tokens: at least one.
        login: None for the settings'.
        asked: when.
        exists: whether the function knows the account.
    """

    tokens: tuple[str, ...]
    login: Login | None
    asked: float
    exists: bool


class _Call(NamedTuple):
    task: asyncio.Task[_Found]
    began: float


class Credentials:
    """Returns the tokens that may have signed an account's webhooks, and what it logs in with.

    The account of the settings has the settings' credentials, whatever the function says; without a
    function, all accounts have them. An account of which the function returns tokens alone is a
    subaccount, which the settings' account sends for. An account that the function does not know
    gets a random token: its requests are refused like any wrong signature, after the same work.

    One object serves one event loop.

    Args:
        settings: the account and its credentials are read, once.
        lookup: the user's function; None for none.
        observer: called when the function fails for an account, and when it works again for all.
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
        self._own_login = settings.login
        self._lookup = lookup
        self._clock = clock
        self._unguessable = (secrets.token_hex(16),)
        self._known: TtlDict[str, _Found] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._unknown: TtlDict[str, _Found] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._refused: set[str] = set()  # by Twilio, since they were last asked for
        self._failed: TtlDict[str, bool] = TtlDict(entries=_ACCOUNTS, size=_ACCOUNTS)
        self._asking: dict[str, _Call] = {}
        self._incidents = Incidents(
            observer, Topic.CREDENTIALS_UNAVAILABLE, lasting=FAILING_FOR, clock=clock
        )

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
        return (await self._find(account_sid)).tokens

    async def renewed(self, account_sid: str) -> tuple[str, ...] | None:
        """Look an account's tokens up again after a signature did not fit; return newer ones.

        None when there is nothing newer, or it was asked for within the last second.

        Raises:
            CredentialsUnavailable: as of `find`; whether there are newer ones is not known.
        """
        found = self._known.get(account_sid, self._clock())
        if found is None or self._clock() - found.asked < REFRESH_AFTER:
            return None
        tokens = (await self._ask(account_sid)).tokens
        return None if tokens == found.tokens else tokens

    async def login(self, account_sid: str) -> Login:
        """Return what an account logs in with at Twilio's REST API, within two seconds.

        Raises:
            CredentialsUnavailable: as of `find`, or the function does not know the account.
        """
        if self._lookup is None or account_sid == self._own_account:
            return self._own_login
        call = self._asking.get(account_sid)
        try:
            began = self._clock() if call is None else call.began
            async with asyncio.timeout(began + LOGIN_PATIENCE - self._clock()):
                found = await self._find(account_sid)
                if self._is_out_of_date(account_sid, found):
                    found = await self._ask(account_sid)
        except TimeoutError:
            raise CredentialsUnavailable("@app.credentials takes too long") from None
        if not found.exists:
            raise CredentialsUnavailable("@app.credentials does not know it")
        return found.login or self._own_login

    def refused(self, account_sid: str) -> None:
        """Have the next login looked up again: Twilio refuses what the function has returned."""
        if self._lookup is not None and account_sid != self._own_account:
            self._refused.add(account_sid)

    def _is_out_of_date(self, account_sid: str, found: _Found) -> bool:
        return account_sid in self._refused and self._clock() - found.asked >= REFRESH_AFTER

    async def close(self) -> None:
        """Cancel the lookups that are running."""
        tasks = tuple(call.task for call in self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _find(self, account_sid: str) -> _Found:
        now = self._clock()
        found = self._known.get(account_sid, now) or self._unknown.get(account_sid, now)
        return await self._ask(account_sid) if found is None else found

    async def _ask(self, account_sid: str) -> _Found:
        call = self._asking.get(account_sid)
        if call is None:
            if self._failed.get(account_sid, self._clock()):
                raise CredentialsUnavailable("they could not be had a moment ago")
            if len(self._asking) >= MAX_LOOKUPS:
                raise CredentialsUnavailable(f"{MAX_LOOKUPS} accounts are being looked up")
            task = asyncio.create_task(self._call(account_sid), name="offhook credentials")
            call = self._asking[account_sid] = _Call(task, self._clock())
            task.add_done_callback(lambda ended: self._end(account_sid, ended))
        return await asyncio.shield(call.task)

    def _end(self, account_sid: str, task: asyncio.Task[_Found]) -> None:
        del self._asking[account_sid]
        if not task.cancelled():
            task.exception()  # retrieved: all callers may have given up

    async def _call(self, account_sid: str) -> _Found:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                # There is a function, or `find` would not have come here.
                given = await self._lookup(account_sid) if self._lookup else None
            tokens, login = _read(given, account_sid)
        except Exception as error:
            now = self._clock()
            self._failed.put(account_sid, value=True, expires=now + FAILED_TTL, now=now)
            # A user's error may quote a token.
            reason = str(error) if isinstance(error, OffhookError) else type(error).__name__
            self._incidents.begin(account_sid, f"@app.credentials failed: {reason}")
            raise CredentialsUnavailable(f"@app.credentials: {reason}") from error
        self._incidents.end(account_sid, "@app.credentials works again")
        return self._keep(account_sid, tokens, login)

    def _keep(self, account_sid: str, tokens: tuple[str, ...], login: Login | None) -> _Found:
        now = self._clock()
        self._refused.discard(account_sid)
        if tokens:
            found = _Found(tokens, login, now, exists=True)
            self._known.put(account_sid, found, expires=now + KNOWN_TTL, now=now)
        else:
            self._known.drop(account_sid)
            found = _Found(self._unguessable, None, now, exists=False)
            self._unknown.put(account_sid, found, expires=now + UNKNOWN_TTL, now=now)
        return found


def _read(given: object, account_sid: str) -> tuple[tuple[str, ...], Login | None]:
    """Return what the function gave: tokens, none for an unknown account, and its own login if any.

    Raises:
        TypeError: it gave something else.
        ValueError: it gave half a surrogate pair, which can sign nothing.
    """
    login: Login | None = None
    match given:
        case None:
            return (), None
        case AccountCredentials():
            tokens: object = given.auth_tokens
            login = given.login(account_sid)
        case _:
            tokens = (given,) if isinstance(given, str) else given
    if not isinstance(tokens, Sequence) or not all(isinstance(token, str) for token in tokens):
        raise TypeError("@app.credentials returns AccountCredentials, a token, tokens, or None")
    for text in (*tokens, *(login or ())):
        text.encode()  # raises UnicodeEncodeError, a ValueError
    return tuple(token for token in tokens if token), login
