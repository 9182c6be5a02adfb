"""The lifecycles of messages and of sends: two tables, which alone decide on states.

A store turns a trigger into SQL by asking `sources(trigger)` and `target(trigger)`; it never
spells out a state of its own. The diagrams in docs/reference/lifecycle.md are made from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """The state of a stored webhook."""

    OPEN = "open"  # stored, waits for its turn in the lane
    RUNNING = "running"  # a worker holds its lease
    WAITING = "waiting"  # for its next attempt
    PARKED = "parked"  # set aside until an operator or a rule releases it
    DONE = "done"
    DISCARDED = "discarded"
    DEAD = "dead"  # given up; its traceback is kept


class Trigger(StrEnum):
    """What happens to a message."""

    CLAIM = "claim"  # a worker takes it
    COMPLETE = "complete"  # the handler returned
    DISCARD = "discard"  # the handler discarded it, or no handler matched
    DROP = "drop"  # an operator discarded it
    RETRY = "retry"  # the handler failed, and may try again
    GIVE_UP = "give-up"  # the last attempt failed
    INTERRUPT = "interrupt"  # the worker is stopping and returns it: no attempt is counted
    RESCUE = "rescue"  # its worker crashed
    BURY = "bury"  # its worker crashed once too often
    PARK = "park"
    REPLAY = "replay"  # an operator has it handled again, or sooner


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


# Worker crashes while a message was running. One may have any cause (a deploy, the OOM killer);
# after the second, the message runs alone, so that it can't interrupt others; after the fifth it
# is dead (DESIGN, "life of a message").
CRASHES_UNTIL_ALONE: Final = 2
CRASHES_UNTIL_DEAD: Final = 5


def after_crash(crashes: int) -> Trigger:
    """Return the trigger for a message after its `crashes`-th worker crash."""
    return Trigger.BURY if crashes >= CRASHES_UNTIL_DEAD else Trigger.RESCUE


class SendState(StrEnum):
    """The state of a reply in the ledger."""

    SCHEDULED = "scheduled"  # has a place in its lane only when its time has come
    PENDING = "pending"
    SENDING = "sending"  # the request may have left
    SENT = "sent"  # Twilio has it
    FAILED = "failed"  # Twilio refused it
    UNDELIVERED = "undelivered"  # Twilio had it, and could not deliver it
    UNKNOWN = "unknown"  # sent, but the response was lost: looked up in Twilio's message list
    REPLACED = "replaced"  # another send has taken its place
    CANCELED = "canceled"  # withdrawn before it was sent, or not to be sent again


MAY_HAVE_LEFT: Final = frozenset({SendState.SENDING, SendState.SENT, SendState.UNKNOWN})
"""The states in which a send may have reached its recipient."""


class SendTrigger(StrEnum):
    """What happens to a send."""

    FALL_DUE = "fall-due"  # the time it was scheduled for has come
    CLAIM = "claim"
    ACCEPT = "accept"  # Twilio answered with a SID
    REFUSE = "refuse"
    POSTPONE = "postpone"  # certainly not accepted (not connected, 429): retried later
    LOSE = "lose"  # the request was sent, the response was lost
    CONFIRM = "confirm"  # a status callback or the message list shows that Twilio accepted it
    MISS = "miss"  # the same shows that it was not delivered
    CANCEL = "cancel"
    REPEAT = "repeat"  # Twilio's message list has lacked it twice: it is sent again
    WITHDRAW = "withdraw"  # the same, but it is not wanted any more
    GIVE_UP = "give-up"  # the same, once too often
    RETRY = "retry"  # an operator has it sent after all, or sooner
    REPLACE = "replace"  # an operator has its text sent again, as another send
    DISMISS = "dismiss"  # an operator decides that it is not sent again
    FALL_BACK = "fall-back"  # WhatsApp's window is closed: a template takes its place


_SS, _ST = SendState, SendTrigger

_SEND: Final[Mapping[SendTrigger, tuple[frozenset[SendState], SendState]]] = MappingProxyType(
    {
        _ST.FALL_DUE: (frozenset({_SS.SCHEDULED}), _SS.PENDING),
        _ST.CLAIM: (frozenset({_SS.PENDING}), _SS.SENDING),
        # A response or a callback may come after it was found missing, before it is sent again.
        _ST.ACCEPT: (frozenset({_SS.PENDING, _SS.SENDING, _SS.UNKNOWN}), _SS.SENT),
        _ST.REFUSE: (frozenset({_SS.SENDING}), _SS.FAILED),
        _ST.POSTPONE: (frozenset({_SS.SENDING}), _SS.PENDING),
        _ST.LOSE: (frozenset({_SS.SENDING}), _SS.UNKNOWN),
        _ST.CONFIRM: (frozenset({_SS.PENDING, _SS.SENDING, _SS.UNKNOWN}), _SS.SENT),
        _ST.MISS: (
            frozenset({_SS.PENDING, _SS.SENDING, _SS.UNKNOWN, _SS.SENT}),
            _SS.UNDELIVERED,
        ),
        _ST.CANCEL: (frozenset({_SS.SCHEDULED, _SS.PENDING}), _SS.CANCELED),
        _ST.REPEAT: (frozenset({_SS.UNKNOWN}), _SS.PENDING),
        _ST.WITHDRAW: (frozenset({_SS.UNKNOWN}), _SS.CANCELED),
        _ST.GIVE_UP: (frozenset({_SS.UNKNOWN}), _SS.FAILED),
        _ST.RETRY: (frozenset({_SS.PENDING, _SS.FAILED}), _SS.PENDING),
        _ST.REPLACE: (frozenset({_SS.FAILED, _SS.UNDELIVERED, _SS.UNKNOWN}), _SS.REPLACED),
        _ST.DISMISS: (frozenset({_SS.FAILED, _SS.UNDELIVERED}), _SS.CANCELED),
        _ST.FALL_BACK: (frozenset({_SS.PENDING, _SS.FAILED, _SS.UNDELIVERED}), _SS.REPLACED),
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
    """The last status that Twilio reported of an outbound message.

    Attributes:
        status: `queued`, `sent`, `delivered`, `read`, `undelivered`, `failed`, ...
        error_code: Twilio's, where it gave one.
    """

    status: str
    error_code: str = ""


# Callbacks arrive in any order, without sequence numbers; the rank keeps a late one from moving a
# message backwards. https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
_RANK: Final[Mapping[str, int]] = MappingProxyType(
    {
        "accepted": 1, "scheduled": 1, "queued": 2, "sending": 3, "sent": 4,
        "partially_delivered": 5, "delivered": 6, "read": 7,
        "canceled": 8, "undelivered": 8, "failed": 8,
    }
)  # fmt: skip

STATUSES: Final = frozenset(_RANK) | {"receiving", "received"}
"""All statuses that Twilio gives a message."""


DELIVERED: Final = frozenset({"delivered", "read"})
"""The statuses of a message that has reached its recipient."""

NOT_DELIVERED: Final = frozenset({"undelivered", "failed"})
"""The statuses of a message that did not reach its recipient, and will not."""


def reported_trigger(delivery: Delivery) -> SendTrigger:
    """Return what a reported delivery does to a send, where its state allows that."""
    return SendTrigger.MISS if delivery.status in NOT_DELIVERED else SendTrigger.CONFIRM


def later_delivery(known: Delivery | None, reported: Delivery) -> Delivery:
    """Return the known delivery updated by a reported one.

    It never moves backwards, and an error code is never replaced by an empty one.
    """
    if known is None:
        return reported
    if _RANK.get(reported.status, 0) > _RANK.get(known.status, 0):
        return Delivery(reported.status, reported.error_code or known.error_code)
    if not known.error_code and reported.status == known.status:
        return reported
    return known
