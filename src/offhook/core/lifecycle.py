"""The life of a message and of a send: two tables, and nothing else decides on states.

A store turns a trigger into SQL by asking `sources(trigger)` and `target(trigger)`; it never
spells out a state of its own. The diagrams in docs/reference/lifecycle.md are made from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a stored webhook is."""

    OPEN = "open"  # stored, waits for its turn in the lane
    RUNNING = "running"  # a worker holds its lease
    WAITING = "waiting"  # for its next attempt
    PARKED = "parked"  # set aside, until somebody or something decides
    DONE = "done"
    DISCARDED = "discarded"
    DEAD = "dead"  # given up; its traceback is kept


class Trigger(StrEnum):
    """What happens to a message."""

    CLAIM = "claim"  # a worker takes it
    COMPLETE = "complete"  # the handler returned
    DISCARD = "discard"  # the handler, or nobody, wants it
    DROP = "drop"  # an operator wants it gone
    RETRY = "retry"  # the handler failed, and may try again
    GIVE_UP = "give-up"  # the last attempt failed
    INTERRUPT = "interrupt"  # the worker is going down and hands it back: no attempt is counted
    RESCUE = "rescue"  # its worker crashed
    BURY = "bury"  # its worker crashed once too often
    PARK = "park"
    REPLAY = "replay"  # an operator wants it handled again, or sooner


_S, _T = State, Trigger

_MESSAGE: Final[Mapping[Trigger, tuple[frozenset[State], State]]] = MappingProxyType(
    {
        _T.CLAIM: (frozenset({_S.OPEN, _S.WAITING}), _S.RUNNING),
        _T.COMPLETE: (frozenset({_S.RUNNING}), _S.DONE),
        _T.DISCARD: (frozenset({_S.RUNNING}), _S.DISCARDED),
        _T.DROP: (frozenset({_S.OPEN, _S.WAITING, _S.PARKED, _S.DEAD}), _S.DISCARDED),
        _T.RETRY: (frozenset({_S.RUNNING}), _S.WAITING),
        _T.GIVE_UP: (frozenset({_S.RUNNING}), _S.DEAD),
        _T.INTERRUPT: (frozenset({_S.RUNNING}), _S.OPEN),
        _T.RESCUE: (frozenset({_S.RUNNING}), _S.OPEN),
        _T.BURY: (frozenset({_S.RUNNING}), _S.DEAD),
        _T.PARK: (frozenset({_S.OPEN, _S.RUNNING}), _S.PARKED),
        _T.REPLAY: (
            frozenset({_S.WAITING, _S.PARKED, _S.DONE, _S.DISCARDED, _S.DEAD}),
            _S.OPEN,
        ),
    }
)

LIVE: Final = frozenset({State.OPEN, State.RUNNING, State.WAITING})
"""The states in which a message has its place in a lane."""

SETTLED: Final = frozenset({State.DONE, State.DISCARDED, State.DEAD})


def sources(trigger: Trigger) -> frozenset[State]:
    """Return the states from which `trigger` may happen."""
    return _MESSAGE[trigger][0]


def target(trigger: Trigger) -> State:
    """Return the state to which `trigger` leads."""
    return _MESSAGE[trigger][1]


def table() -> tuple[tuple[State, Trigger, State], ...]:
    """Return all transitions of a message as (from, trigger, to), for tests and diagrams."""
    return tuple((s, t, to) for t, (many, to) in _MESSAGE.items() for s in State if s in many)


# How often a message may have been running when its worker died. One crash may be anybody's fault
# (a deploy, the kernel's memory killer); after the second it runs alone, so that it can take no
# neighbour with it; a fifth makes it dead (DESIGN, "life of a message").
CRASHES_UNTIL_ALONE: Final = 2
CRASHES_UNTIL_DEAD: Final = 5


def after_crash(crashes: int) -> Trigger:
    """Return what becomes of a message whose worker has died for the `crashes`-th time."""
    return Trigger.BURY if crashes >= CRASHES_UNTIL_DEAD else Trigger.RESCUE


class SendState(StrEnum):
    """Where a reply is, in the ledger."""

    PENDING = "pending"
    SENDING = "sending"  # the request may have left
    SENT = "sent"  # Twilio has it
    FAILED = "failed"  # Twilio refused it
    UNKNOWN = "unknown"  # sent, but no answer was read: never repeated by us
    CANCELED = "canceled"  # not wanted any more, and never sent


MAY_HAVE_LEFT: Final = frozenset({SendState.SENDING, SendState.SENT, SendState.UNKNOWN})
"""The states in which a send may be with its recipient."""


class SendTrigger(StrEnum):
    """What happens to a send."""

    CLAIM = "claim"
    ACCEPT = "accept"  # Twilio answered with a SID
    REFUSE = "refuse"
    POSTPONE = "postpone"  # surely not accepted (never connected, 429): again later
    LOSE = "lose"  # the request left, the answer did not come
    CONFIRM = "confirm"  # a status callback names it: Twilio has it after all
    CANCEL = "cancel"


_SS, _ST = SendState, SendTrigger

_SEND: Final[Mapping[SendTrigger, tuple[frozenset[SendState], SendState]]] = MappingProxyType(
    {
        _ST.CLAIM: (frozenset({_SS.PENDING}), _SS.SENDING),
        _ST.ACCEPT: (frozenset({_SS.SENDING, _SS.UNKNOWN}), _SS.SENT),
        _ST.REFUSE: (frozenset({_SS.SENDING}), _SS.FAILED),
        _ST.POSTPONE: (frozenset({_SS.SENDING}), _SS.PENDING),
        _ST.LOSE: (frozenset({_SS.SENDING}), _SS.UNKNOWN),
        _ST.CONFIRM: (frozenset({_SS.SENDING, _SS.UNKNOWN}), _SS.SENT),
        _ST.CANCEL: (frozenset({_SS.PENDING}), _SS.CANCELED),
    }
)


def send_sources(trigger: SendTrigger) -> frozenset[SendState]:
    """Return the states from which `trigger` may happen to a send."""
    return _SEND[trigger][0]


def send_target(trigger: SendTrigger) -> SendState:
    """Return the state to which `trigger` leads a send."""
    return _SEND[trigger][1]


def send_table() -> tuple[tuple[SendState, SendTrigger, SendState], ...]:
    """Return all transitions of a send as (from, trigger, to), for tests and diagrams."""
    return tuple((s, t, to) for t, (many, to) in _SEND.items() for s in SendState if s in many)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What Twilio last said of an outbound message.

    Attributes:
        status: `queued`, `sent`, `delivered`, `read`, `undelivered`, `failed`, ...
        error_code: Twilio's, where it gave one.
    """

    status: str
    error_code: str = ""


# Callbacks come in any order and carry no sequence number; the rank keeps a late one from moving
# a message backwards. https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
_RANK: Final[Mapping[str, int]] = MappingProxyType(
    {
        "accepted": 1, "scheduled": 1, "queued": 2, "sending": 3, "sent": 4,
        "partially_delivered": 5, "delivered": 6, "read": 7,
        "canceled": 8, "undelivered": 8, "failed": 8,
    }
)  # fmt: skip

STATUSES: Final = frozenset(_RANK) | {"receiving", "received"}
"""All statuses that Twilio gives a message."""


def later_delivery(known: Delivery | None, reported: Delivery) -> Delivery:
    """Return the delivery to keep, of what is known and what a callback reports.

    It never moves backwards, and an error code is never erased by an empty one.
    """
    if known is None:
        return reported
    if _RANK.get(reported.status, 0) > _RANK.get(known.status, 0):
        return Delivery(reported.status, reported.error_code or known.error_code)
    if not known.error_code and reported.status == known.status:
        return reported
    return known
