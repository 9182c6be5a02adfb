"""What Twilio's message list shows of sends whose outcome is unknown.

The list names no send: it has no idempotency key and no URL of a status callback. What may be a
send's message is found by the recipient, the sender, the text, the media and the time. A send is
repeated only where nothing in the list may be its message. Where something may, and is not certain
to be, it stays unknown (docs/decisions/0037-unknown-sends-are-looked-up.md).

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from offhook.core.addresses import channel_of, folded

FIRST_LOOK: Final = 60.0
"""Seconds for which a status callback is waited for before the list is read."""

SECOND_LOOK: Final = 120.0
"""Seconds between two lists that both have to lack a message: new ones may come in late."""

LOOKED_FOR: Final = 36_000.0
"""Seconds for which a send is looked up; a reply that is later than that is of no use. Twilio
itself queues a message for ten hours: https://www.twilio.com/docs/api/errors/30036"""

TEXT_NEEDED: Final = LOOKED_FOR + 3600.0
"""Seconds for which the text of an unknown send is kept: a look that began in time may end later,
and what is sent again may be postponed."""

REPEATS: Final = 3
"""How often a send is repeated at most: the column `repeats` of both stores begins with it."""

NOT_WANTED: Final = -1
"""The same once the person has opted out, or has written what it was to be sent without."""

SLACK: Final = 300.0
"""Seconds: a request may take so long to arrive, and the times of both sides may differ so much."""

_LONGEST_PAUSE: Final = 3600.0  # seconds

# Numbers as Twilio writes them. Others may stand in the list in another form than was asked for.
_NUMBER: Final = re.compile(r"(?:(?:whatsapp|rcs):)?\+[1-9][0-9]{6,14}")
_SERVICE: Final = re.compile(r"MG[0-9a-fA-F]{32}")

_TRIAL: Final = "sent from your twilio trial account -"
# What Smart Encoding makes of them: https://www.twilio.com/docs/messaging/services/smart-encoding-char-list
_PUNCTUATION: Final = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u02c8\u2035\u275b\u275c", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u275d\u275e\u301d\u301e", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
)


class Finding(StrEnum):
    """What came of looking up an unknown send."""

    FOUND = "found"  # Twilio has it
    MISSING = "missing"  # the list lacks it, for the first time
    UNCERTAIN = "uncertain"  # something in the list may be it, or the list can't be relied on
    REPEAT = "repeat"  # the list has lacked it twice


@dataclass(frozen=True, slots=True)
class Unknown:
    """An unknown send. Its times are in seconds before the list was asked for.

    Attributes:
        message_id, identity: of the ledger.
        sender: the number it was sent from, or a Messaging Service SID.
        template: whether its text is a content template's, which Twilio fills in.
        written: how long ago it was written; it can't have left before.
        lost: how long ago it became unknown; it can't have left later.
        looks: how often it has been looked up, this time included.
        missing: how long ago a list was the first to lack it; None if none has.
    """

    id: int
    message_id: int
    identity: str
    sender: str
    to: str
    body: str
    media: tuple[str, ...]
    template: bool
    written: float
    lost: float
    looks: int = 1
    missing: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A message of Twilio's list.

    Attributes:
        sender: its From; empty as long as a Messaging Service has not chosen one.
        service: its Messaging Service; empty without one.
        media: how many it has.
        age: seconds since Twilio created it, by Twilio's clock.
        outbound: whether it was sent to a person.
    """

    sid: str
    to: str
    sender: str
    service: str
    body: str
    media: int
    age: float
    status: str = ""
    error_code: str = ""
    outbound: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of looking up a send.

    Attributes:
        listed: its message, if it was found.
        again: the seconds until it is looked up again, if it is.
    """

    send: Unknown
    finding: Finding
    listed: Listed | None = None
    again: float = 0.0


def recipients_of(to: str, *, services: bool) -> tuple[str, ...]:
    """Return the addresses under which the list may have messages to a person.

    None for an address that Twilio may write in another way.

    Args:
        to: the recipient of a send.
        services: whether a Messaging Service sends: it may send by RCS what is for a number, and
            the other way round.
    """
    address = folded(to)
    if not _NUMBER.fullmatch(address):
        return ()
    if channel_of(address) == "rcs" or (services and channel_of(address) == "sms"):
        number = address.rpartition(":")[2]
        return number, f"rcs:{number}"
    return (address,)


def is_service(sender: str) -> bool:
    """Return whether a sender is a Messaging Service, which chooses the number."""
    return _SERVICE.fullmatch(sender) is not None


def look_up(
    sends: Sequence[Unknown],
    listed: Sequence[Listed],
    *,
    known: Collection[str],
    witnesses: Collection[str],
) -> tuple[Verdict, ...]:
    """Return for each send what the list says of it. No message counts for two sends.

    Args:
        sends: all unknown sends to one person.
        listed: all messages to that person.
        known: the SIDs that belong to other sends of the ledger.
        witnesses: SIDs which the list has if nothing is missing in it.
    """
    once = {one.sid: one for one in listed}  # a page may repeat what was on the one before
    free = [one for one in once.values() if one.outbound and one.sid not in known]
    found = dict(_found(sends, free))
    taken = {one.sid for one in found.values()}
    left = [one for one in free if one.sid not in taken]
    complete = once.keys() >= set(witnesses)
    return tuple(
        Verdict(send, Finding.FOUND, found[send.id])
        if send.id in found
        else _absent(send, left, complete=complete)
        for send in sends
    )


def unanswered(sends: Sequence[Unknown]) -> tuple[Verdict, ...]:
    """Return the verdicts on sends of which the list can't tell anything now."""
    return tuple(_uncertain(send) for send in sends)


def _absent(send: Unknown, left: Sequence[Listed], *, complete: bool) -> Verdict:
    is_listed = recipients_of(send.to, services=False)
    if not (is_listed and complete) or any(_may_be(send, one) for one in left):
        return _uncertain(send)
    if send.lost < FIRST_LOOK:
        return Verdict(send, Finding.UNCERTAIN, again=FIRST_LOOK - send.lost)
    if send.missing is None:
        return Verdict(send, Finding.MISSING, again=SECOND_LOOK)
    if send.missing < SECOND_LOOK:
        return Verdict(send, Finding.MISSING, again=SECOND_LOOK - send.missing)
    return Verdict(send, Finding.REPEAT)


def _uncertain(send: Unknown) -> Verdict:
    pause = SECOND_LOOK * 2.0 ** min(send.looks - 1, 10)
    return Verdict(send, Finding.UNCERTAIN, again=min(pause, _LONGEST_PAUSE))


# Sends with the same content are the same to the person: which of them a message is does not
# matter, only how many there are. A message that may be of two contents is certain to be of none.
_Content = tuple[str, str, tuple[str, ...], bool]


def _found(sends: Sequence[Unknown], listed: Sequence[Listed]) -> Iterator[tuple[int, Listed]]:
    """Yield which message is which send's, as many as possible."""
    waiting = sorted(sends, key=lambda send: -send.lost)  # by the end of the time of leaving
    for one in sorted(listed, key=lambda one: -one.age):
        contents = {_content(send) for send in sends if _is_alike(send, one)}
        if len(contents) != 1:
            continue
        for send in waiting:
            if _content(send) in contents and _fits(send, one) is _Fit.CERTAIN:
                waiting.remove(send)
                yield send.id, one
                break


def _content(send: Unknown) -> _Content:
    return send.sender, plain(send.body), send.media, send.template


class _Fit(Enum):
    NO = auto()
    POSSIBLE = auto()
    CERTAIN = auto()


def _may_be(send: Unknown, one: Listed) -> bool:
    return _fits(send, one) is not _Fit.NO


def _fits(send: Unknown, one: Listed) -> _Fit:
    """Return whether a message may be a send's. Its text alone never says no: Twilio changes it."""
    if not send.lost - SLACK <= one.age <= send.written + SLACK:
        return _Fit.NO
    if one.to and folded(one.to) not in recipients_of(send.to, services=is_service(send.sender)):
        return _Fit.NO
    by = _by(send, one)
    return _Fit.POSSIBLE if by is _Fit.CERTAIN and not _says(send, one) else by


def _is_alike(send: Unknown, one: Listed) -> bool:
    """Return whether a message may be a send's, as far as texts go: an empty one says nothing."""
    if not _may_be(send, one):
        return False
    return send.template or plain(one.body) in {"", plain(send.body)}


def _by(send: Unknown, one: Listed) -> _Fit:
    if is_service(send.sender):
        if one.service:
            return _Fit.CERTAIN if one.service == send.sender else _Fit.NO
        return _Fit.POSSIBLE
    if folded(one.sender) == folded(send.sender):
        return _Fit.CERTAIN
    falls_back = "rcs" in {channel_of(send.sender), channel_of(send.to)}
    return _Fit.POSSIBLE if not one.sender or falls_back else _Fit.NO


def _says(send: Unknown, one: Listed) -> bool:
    """Return whether text and media are the same, but for what Twilio is known to change."""
    return (
        not send.template
        and plain(send.body) == plain(one.body)
        and len(send.media) == one.media
        and bool(plain(send.body) or send.media)
    )


def plain(text: str) -> str:
    """Return a text without what Twilio may change in it."""
    text = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    words = " ".join(text.split())
    if words.lower().startswith(_TRIAL):
        words = words[len(_TRIAL) :].lstrip()
    return words
