"""What both stores make of their rows, and what they agree on."""

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from offhook.core.cost import ConversationSpent, DaySpent, Spending, Spent
from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.messages import Send
from offhook.core.reasons import Cause, Error, read
from offhook.core.unknown_sends import (
    NOT_WANTED,
    REPEATS,
    Unknown,
    is_service,
    recipients_of,
)
from offhook.errors import LeaseLost
from offhook.stores.api import (
    Attempt,
    Claim,
    Draft,
    Record,
    SendClaim,
    SendOutcome,
    SendRecord,
)

SLOW_NOTICE: Final = "notice:slow"
"""The one notice that a settled message does not want any more."""

COUNTED: Final = frozenset({Trigger.COMPLETE, Trigger.DISCARD, Trigger.RETRY, Trigger.GIVE_UP})
"""These end a run that the handler has had; a crash or an interruption costs no attempt."""

SEND_COLUMNS: Final = (
    "id, identity, state, body, recipient, sid, delivery, error_code, error, content_sid, fell_back"
)


class Stage(Enum):
    """How far a request for sends has come, as both stores number it."""

    SCHEDULED = 0
    WRITTEN = 1  # its sends have a place in their lane
    REDUCED = 2  # likewise, without their texts
    FORGOTTEN = 3  # its sends are deleted; the key is left


Moment = Callable[[Any], Any]
"""Turns a column with a moment into seconds since the epoch; None stays None."""


class RowsOfPerson(NamedTuple):
    """What belongs to a person: numbers of messages and sends, and lanes that have a state."""

    messages: Sequence[int]
    sends: Sequence[int]
    states: Sequence[Any]


class Settled(NamedTuple):
    """A send and its outcome."""

    claim: SendClaim
    outcome: SendOutcome


def as_send(row: Iterable[Any], *, repeated: bool = False) -> Send:
    """Return a send of the ledger from its `SEND_COLUMNS`."""
    (id_, identity, state, body, to, sid, delivery, error_code, error, content_sid,
     fell_back) = row  # fmt: skip
    return Send(
        id=id_,
        identity=identity,
        state=SendState(state),
        body=body,
        to=to,
        sid=sid,
        delivery=Delivery(delivery, error_code) if delivery else None,
        error=str(read(error)),
        error_code=error_code,
        repeated=repeated,
        content_sid=content_sid,
        fallback_reason=str(read(fell_back)),
    )


def deleted_send(identity: str, to: str) -> Send:
    """Return the send of a key whose sends have been deleted."""
    return Send(0, identity, SendState.UNKNOWN, "", to, repeated=True)


def as_send_claim(row: Iterable[Any], token: int) -> SendClaim:
    """Return a claim from the columns of a send, its tries, and the SID of its message."""
    (id_, message, identity, account, sender, to, body, media, content, variables, fell_back, tries,
     sid) = row  # fmt: skip
    draft = Draft(
        identity=identity,
        account_sid=account,
        sender=sender,
        to=to,
        body=body,
        media=() if media == "[]" else tuple(json.loads(media)),
        content_sid=content,
        content_variables={} if variables == "{}" else json.loads(variables),
    )
    # Sends of a request have the negative of its number.
    return SendClaim(
        id_, token, max(0, message), draft, tries, sid or "", fell_back=read(fell_back)
    )


def as_unknown(
    row: Iterable[Any], *, written: float, lost: float, looks: int, missing: float | None
) -> Unknown:
    """Return a send to be looked up from its columns, and its times in seconds before now."""
    id_, message, identity, sender, to, body, media, content_sid = row
    return Unknown(
        id=id_,
        message_id=message,
        identity=identity,
        sender=sender,
        to=to,
        body=body,
        media=tuple(json.loads(media)),
        template=bool(content_sid),
        written=written,
        lost=lost,
        looks=looks,
        missing=missing,
    )


def listed_under(sends: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the addresses under which Twilio lists the messages to a person.

    Args:
        sends: sender and recipient of all unknown ones, to whichever of the person's addresses.
    """
    found = (recipients_of(to, services=is_service(sender)) for sender, to in sends)
    return tuple(sorted({address for addresses in found for address in addresses}))


def ending(repeats: int, identity: str, state: State | None) -> tuple[SendTrigger, Error]:
    """Return what happens to a send that Twilio's list has lacked twice, and why.

    Args:
        repeats: how often it may still be sent again.
        identity: of the send.
        state: of its message; None if that is gone.
    """
    if repeats == NOT_WANTED:
        return SendTrigger.WITHDRAW, Cause.OPTED_OUT()
    if identity == SLOW_NOTICE and state not in LIVE:
        return SendTrigger.WITHDRAW, ""
    if repeats > 0:
        return SendTrigger.REPEAT, ""
    return SendTrigger.GIVE_UP, Cause.SEND_REPEATED(REPEATS + 1)


def draft_columns(draft: Draft, clean: Callable[[str], str]) -> tuple[str, ...]:
    """Return a draft as the ledger's columns; `clean` makes a text one that the store can hold."""
    return (
        clean(draft.identity), clean(draft.account_sid), clean(draft.sender), clean(draft.to),
        clean(draft.body), json.dumps(list(draft.media)), clean(draft.content_sid),
        json.dumps(dict(draft.content_variables)), _fallback_column(draft, clean),
    )  # fmt: skip


def _fallback_column(draft: Draft, clean: Callable[[str], str]) -> str:
    """Return a draft's fallback as the stores hold it: all parts of a text have the same."""
    if draft.fallback is None:
        return ""
    variables = draft.fallback.variables.items()
    given = {
        "identity": clean(draft.fallback_identity),
        "sid": draft.fallback.sid,
        "variables": {clean(name): clean(value) for name, value in variables},
    }
    return json.dumps(given)


def _seconds(column: float | None) -> float | None:
    return column


def as_record(row: Iterable[Any], moment: Moment = _seconds) -> Record:
    """Return a message as operators see it."""
    (id_, kind, state, sid, account, sender, recipient, lane, attempts, crashes,
     received, started, settled, due, error, form, spooled, reduced) = row  # fmt: skip
    return Record(
        id=id_,
        kind=Kind(kind),
        state=State(state),
        sid=sid,
        account_sid=account,
        sender=sender,
        recipient=recipient,
        lane=lane,
        attempts=attempts,
        crashes=crashes,
        received=moment(received),
        started=moment(started),
        settled=moment(settled),
        due=moment(due),
        error=read(error),
        form=form,
        spooled=bool(spooled),
        reduced=bool(reduced),
    )


def as_send_record(row: Iterable[Any], moment: Moment = _seconds) -> SendRecord:
    """Return a send as operators see it."""
    (id_, message, identity, state, account, sender, to, body, created, due, tries, settled, sid,
     delivery, error_code, error, content_sid, fell_back) = row  # fmt: skip
    return SendRecord(
        id=id_,
        message_id=max(0, message),
        identity=identity,
        state=SendState(state),
        account_sid=account,
        sender=sender,
        to=to,
        body=body,
        created=moment(created),
        due=moment(due),
        tries=tries,
        settled=moment(settled),
        sid=sid,
        delivery=delivery,
        error_code=error_code,
        error=read(error),
        content_sid=content_sid,
        fell_back=read(fell_back),
    )


def replacement(send_id: int) -> str:
    """Return the identity of the send that takes another's place: there is one at most."""
    return f"retry:{send_id}"


def as_spending(days: Iterable[Iterable[Any]], conversations: Iterable[Iterable[Any]]) -> Spending:
    """Return what was spent; each row ends with the columns of `Spent`."""
    return Spending(
        tuple(DaySpent(day, Spent(*sums)) for day, *sums in days),
        tuple(ConversationSpent(sender, to, Spent(*sums)) for sender, to, *sums in conversations),
    )


def moments(ahead: int) -> Moment:
    """Return what turns SQLite's moments into people's; the wall clock is `ahead` ms."""
    return lambda moment: None if moment is None else (moment + ahead) / 1000


def moment_of(seconds: float | None, ahead: int) -> int | None:
    """Return a moment of people's as SQLite's."""
    return None if seconds is None else int(seconds * 1000) - ahead


def as_attempt(row: Iterable[Any], moment: Moment = _seconds) -> Attempt:
    """Return a run that did not complete, or a decision."""
    number, started, ended, trigger, error = row
    return Attempt(number, moment(started), moment(ended), Trigger(trigger), read(error))


def passed_on(claim: Claim) -> LeaseLost:
    """Return what a run is refused with whose message another run has, or had."""
    return LeaseLost(f"message {claim.id} has passed to another run")


def settled_already(claim: Claim) -> LeaseLost:
    """Return what a run is refused with that has ended."""
    return LeaseLost(f"message {claim.id} has settled: its run can send no more")
