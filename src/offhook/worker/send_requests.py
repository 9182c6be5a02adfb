"""Write sends that answer no message: those of `Offhook.send`, and what status handlers return."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from offhook.core.addresses import folded
from offhook.core.keys import Kind, conversation
from offhook.core.messages import Reply, Send, StatusUpdate, replies
from offhook.core.texts import well_formed
from offhook.errors import InvalidSend
from offhook.events import Observer, Problem, Topic
from offhook.settings import Settings
from offhook.stores.api import Claim, Filter, Record, SendRequest, Store
from offhook.stores.availability import StoreWatch
from offhook.stores.people import addresses_in_channel
from offhook.worker.drafts import FALLBACK, ReturnAddress, drafts_of, sender_of

LONGEST: Final = timedelta(days=366)
"""How far ahead a send may be scheduled."""

_ACCOUNT_SID: Final = re.compile("(?:AC[0-9a-fA-F]{32})?")

# What the identities of sends begin with that a status handler has returned.
_RETURNED: Final = "status"
_LOOKED_AT: Final = 20  # messages of a person: of several accounts, one is ours


def delay_of(at: datetime | timedelta | None, now: datetime) -> float:
    """Return the seconds from `now` until a moment; 0 for none, and for one in the past.

    Raises:
        InvalidSend: it is no moment in a time zone, nor a time span, or more than a year ahead.
    """
    match at:
        case None:
            return 0.0
        case timedelta():
            ahead = at
        case datetime(tzinfo=None):
            raise InvalidSend(
                "at needs a time zone: datetime.now(UTC) + timedelta(hours=1), or a timedelta alone"
            )
        case datetime():
            ahead = at.astimezone(UTC) - now
        case _:
            raise InvalidSend(f"at is a datetime or a timedelta, not {type(at).__name__}")
    if ahead > LONGEST:
        raise InvalidSend(f"at is {ahead.days:,} days ahead: a year is the longest")
    return max(0.0, ahead.total_seconds())


def _address(address: object, name: str) -> str:
    """Return an address in comparable form.

    Raises:
        InvalidSend: it is no printable text. What it is may be a person's number, and is not told.
    """
    if not isinstance(address, str) or not address.isprintable():
        raise InvalidSend(f"{name} is a number such as +15551230001, as a printable str")
    return folded(address.strip())


def _account(account: object) -> str:
    """Return the SID of an account, or nothing.

    Raises:
        InvalidSend: it is none.
    """
    if not isinstance(account, str) or not _ACCOUNT_SID.fullmatch(account):
        raise InvalidSend("account is the SID of an account: AC and 32 hexadecimal digits")
    return account


class RequestWriter:
    """Writes sends that answer no message.

    Args:
        store: of the running event loop.
        settings: `account_sid` and `sender` are used.
        observer: called when a key has had another text, and when something is not sent.
    """

    def __init__(self, store: Store, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._settings = settings
        self._observer = observer

    async def write(
        self,
        to: str,
        reply: Reply,
        *,
        key: str | None,
        delay: float,
        from_: str,
        unless_reply: bool,
        account: str = "",
    ) -> Send:
        """Write what a call of `Offhook.send` asks for; see there."""
        if key is not None and (not isinstance(key, str) or not key or well_formed(key) != key):
            raise InvalidSend("key is a str that is not empty, and has no lone surrogates")
        if not _address(to, "to"):
            raise InvalidSend("to is empty: give the number to send to")
        request = await self._request(
            replace(reply, to=_address(to, "to")),
            _account(account) or self._settings.account_sid,
            "send:0" if key is None else f"key:{key}",
            from_=_address(from_, "from_"),
        )
        request = replace(
            request, key="" if key is None else f"key:{key}", delay=delay, unless_reply=unless_reply
        )
        written = await self._store.request(request)
        if any(
            send.repeated and send.body not in {"", draft.body}
            for send, draft in zip(written, request.drafts, strict=False)
        ):
            text = f"send {written[-1].id} had another text for its key, which is kept"
            self._observer(Problem(Topic.REPLY_DIFFERS, text))
        return written[-1]

    async def write_returned(
        self, answer: object, status: StatusUpdate, claim: Claim, watch: StoreWatch
    ) -> None:
        """Send what a status handler has returned; what an earlier attempt has written stays.

        Raises:
            InvalidReply: it is nothing that can be sent.
            InvalidSend: it is not known to whom, or from which number.
        """
        returned = replies(answer)
        if not returned:
            return
        account = status.account_sid
        about = await watch.persist(partial(self._store.sent_as, status.sid, account_sid=account))
        if about is not None and about.identity.removeprefix(FALLBACK).startswith(_RETURNED):
            text = (
                f"a status handler answers the statuses of its own message (send {about.id}): that "
                "would have no end, and is not sent; give it a where= that tells them apart"
            )
            self._observer(Problem(Topic.STATUS_LOOP, text))
            return
        for number, reply in enumerate(returned):
            name = f"{_RETURNED}:{claim.id}:{number}"
            addressed = replace(reply, to=reply.to or status.to)
            request = await watch.persist(
                partial(self._request, addressed, account, name, ours=folded(status.from_))
            )
            await watch.persist(partial(self._store.request, replace(request, key=name)))

    async def _request(
        self, reply: Reply, account_sid: str, identity: str, *, from_: str = "", ours: str = ""
    ) -> SendRequest:
        """Return the request for a reply that answers no message.

        Its lane is the conversation that the recipient's answer will be in, as far as it is known.
        """
        to = folded(reply.to)
        fixed = "" if from_.startswith("MG") else from_
        ours = ours or fixed or await self._last_written_to(account_sid, to)
        configured = sender_of(account_sid, self._settings)
        address = ReturnAddress(account_sid, ours, to, configured)
        sender = from_ or address.sender_to(to)
        if not (to and sender):
            remedy = "Set OFFHOOK_SENDER, or say which (from_, --from)"
            if account_sid != self._settings.account_sid:
                remedy = f"Say which of {account_sid} (from_, --from), or another account"
            raise InvalidSend(
                "there is no number to send from: this person has written to none that is known "
                f"here. {remedy}"
            )
        drafts = drafts_of(reply, identity, address)
        return SendRequest(
            conversation(account_sid, ours=ours or sender, theirs=to),
            tuple(replace(draft, sender=sender) for draft in drafts),
        )

    async def _last_written_to(self, account_sid: str, person: str) -> str:
        """Return the number of ours to which a person has written last; empty if none is known."""
        found: list[Record] = []
        for address in await addresses_in_channel(self._store, person):
            wanted = Filter(kind=Kind.MESSAGE, sender=address, limit=_LOOKED_AT)
            found += await self._store.find(wanted)
        ours = [one for one in found if one.account_sid == account_sid]
        return max(ours, key=lambda one: one.id).recipient if ours else ""
