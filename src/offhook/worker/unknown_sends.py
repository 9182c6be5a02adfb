"""Look up, in Twilio's message list, sends whose outcome is unknown."""

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from offhook.core.lifecycle import Delivery, SendTrigger, reported_trigger
from offhook.core.unknown_sends import Finding, Listed, Verdict, look_up, unanswered
from offhook.errors import CredentialsUnavailable, StoreUnavailable, TwilioError
from offhook.events import Incidents, LookedUp, Observer, Topic
from offhook.observe.redaction import mask_numbers
from offhook.ports import Logins
from offhook.settings import Settings
from offhook.stores.api import Inquiry, Store
from offhook.twilio.client import TwilioClient
from offhook.twilio.logins import SettingsLogin
from offhook.twilio.message_list import list_messages

_EVERY: Final = 5.0  # seconds between two looks for what is due

_PAUSE: Final = 0.5
"""Seconds between two people: the requests of a worker stay far below what Twilio lets through
(https://www.twilio.com/docs/api/errors/20429), and leave room for replies."""

_AFTER_FAILURE: Final = 30.0  # seconds; a Twilio that is down is not asked for one after another

_LONGEST: Final = 120.0  # seconds for all pages of a list

_HEARD_OF: Final = 7200.0
"""Seconds; the longest pause between two looks for a send is an hour."""

_CLIENT_ERROR: Final = range(400, 500)

_LEASE: Final = 240.0
"""Seconds for which nobody else looks up the same sends. Longer than it takes."""


class UnknownSends:
    """Looks unknown sends up as long as the worker works.

    Any number of workers may do so: each takes all that is unknown to one person.

    Args:
        store: open; has the ledger.
        settings: the REST API's address and credentials are used.
        logins: of all accounts; None for the settings'.
        observer: called with every verdict, and when Twilio's list can't be read.
    """

    def __init__(
        self, store: Store, settings: Settings, observer: Observer, logins: Logins | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._observer = observer
        self._logins = logins or SettingsLogin(settings)
        self._limited: dict[str, float] = {}
        self._incidents = Incidents(
            observer, Topic.MESSAGE_LIST, lasting=_HEARD_OF, clock=time.monotonic
        )

    async def run(self) -> None:
        """Look up what is due, until it is cancelled. What was under way is looked up later."""
        while True:
            pause = _EVERY
            try:
                if inquiry := await self._store.claim_unknown(lease=_LEASE):
                    pause = await self._look_up_from(inquiry)
            except StoreUnavailable:
                pass  # the worker says so
            await asyncio.sleep(pause)

    async def _look_up_from(self, first: Inquiry) -> float:
        """Look up all that is due, with one client; return the seconds until it is worth more."""
        async with TwilioClient(self._settings) as client:
            inquiry: Inquiry | None = first
            while inquiry is not None:
                if not await self._look_up(client, inquiry):
                    return _AFTER_FAILURE
                await asyncio.sleep(_PAUSE)
                inquiry = await self._store.claim_unknown(lease=_LEASE)
        return _EVERY

    async def _look_up(self, client: TwilioClient, inquiry: Inquiry) -> bool:
        """Look up the sends to one person; return whether Twilio can be asked for the next."""
        account = inquiry.account_sid
        if self._limited.get(account, 0.0) > time.monotonic():
            await self._settle(inquiry, unanswered(inquiry.sends))
            return True
        try:
            async with asyncio.timeout(_LONGEST):
                login = await self._logins.login(account)
                listed = await _listed(client.logged_in(login), inquiry)
        except (CredentialsUnavailable, TwilioError, TimeoutError) as error:
            reason = mask_numbers(str(error)) or "it took too long"
            text = f"Twilio's message list of {account} can't be read: {reason}"
            self._incidents.begin(account, text)
            await self._settle(inquiry, unanswered(inquiry.sends))
            return self._concerns_one(error, account)
        self._incidents.end(account, "Twilio's message list can be read again")
        await self._settle(inquiry, await self._judge(inquiry, listed))
        return True

    def _concerns_one(self, error: Exception, account_sid: str) -> bool:
        """Return whether this list can't be had, and others may."""
        match error:
            case CredentialsUnavailable():
                return True
            case TwilioError(status=HTTPStatus.UNAUTHORIZED):
                self._logins.refused(account_sid)
                return True
            case TwilioError(status=HTTPStatus.TOO_MANY_REQUESTS):
                self._limited[account_sid] = time.monotonic() + _AFTER_FAILURE
                return True
            case TwilioError(status=status):
                return status in _CLIENT_ERROR
            case _:
                return False

    async def _judge(self, inquiry: Inquiry, listed: Sequence[Listed] | None) -> Sequence[Verdict]:
        if listed is None:
            return unanswered(inquiry.sends)
        # Asked for after the list has been read: what is in it may have got its SID meanwhile.
        known = await self._store.known_sids(inquiry, [one.sid for one in listed])
        if known is None:
            return unanswered(inquiry.sends)
        return look_up(inquiry.sends, listed, known=known, witnesses=inquiry.witnesses)

    async def _settle(self, inquiry: Inquiry, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.listed is not None:
                await self._confirm(inquiry, verdict, verdict.listed)
        others = [verdict for verdict in verdicts if verdict.listed is None]
        happened = await self._store.settle_unknown(others)
        for verdict in others:
            trigger = happened.get(verdict.send.id)
            if trigger is not None or verdict.finding is not Finding.REPEAT:
                self._report(verdict, trigger)

    async def _confirm(self, inquiry: Inquiry, verdict: Verdict, listed: Listed) -> None:
        reported = Delivery(listed.status, listed.error_code)
        if await self._store.record_delivery(
            verdict.send.id, listed.sid, reported, account_sid=inquiry.account_sid
        ):
            self._report(verdict, reported_trigger(reported), listed.sid)

    def _report(self, verdict: Verdict, trigger: SendTrigger | None, sid: str = "") -> None:
        send = verdict.send
        self._observer(
            LookedUp(send.id, send.message_id, send.identity, verdict.finding, trigger, sid)
        )


async def _listed(client: TwilioClient, inquiry: Inquiry) -> Sequence[Listed] | None:
    """Return all that Twilio lists of a person; None if that is too much, or nothing is known."""
    listed: list[Listed] = []
    for recipient in inquiry.recipients:
        messages = await list_messages(client, inquiry.account_sid, recipient)
        if messages is None:
            return None
        listed += messages
    return listed if inquiry.recipients else None
