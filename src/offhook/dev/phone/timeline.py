"""The timeline of a bubble: its moments in order, all by one clock."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from offhook.dev.phone.bubbles import Bubble, Incoming, Outgoing

Kind = Literal["acknowledged", "refused", "run", "running", "reply", "call", "confirmed", "status"]

_ORDER: Final = {"acknowledged": 0}  # of two at once, what came first is the acknowledgement


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a timeline.

    Attributes:
        after: seconds since the first moment.
        about: the object that was heard of then.
    """

    kind: Kind
    after: float
    about: Any


def timeline(bubble: Bubble, replies: tuple[Outgoing, ...]) -> list[Moment]:
    """Return what happened to a bubble after it was written, in order.

    Args:
        bubble: the bubble.
        replies: to it.
    """
    made = _of_incoming(bubble, replies) if isinstance(bubble, Incoming) else _of_outgoing(bubble)
    return sorted(made, key=lambda one: (one.after, _ORDER.get(one.kind, 1)))


def _of_incoming(bubble: Incoming, replies: tuple[Outgoing, ...]) -> list[Moment]:
    made: list[Moment] = []
    if bubble.delivered is not None:
        at = bubble.acknowledged or bubble.time + bubble.delivered.seconds
        kind: Kind = "refused" if bubble.error else "acknowledged"
        made.append(Moment(kind, at - bubble.began, bubble.delivered))
    made += [Moment("run", run.began - bubble.began, run) for run in bubble.runs]
    made += [Moment("reply", one.began - bubble.began, one) for one in replies]
    if bubble.running is not None:
        made.append(Moment("running", bubble.running - bubble.began, bubble.running))
    return made


def _of_outgoing(bubble: Outgoing) -> list[Moment]:
    calls = [Moment("call", one.time + one.seconds - bubble.began, one) for one in bubble.calls]
    statuses = [
        Moment("status", one.requests[0].time - bubble.began if one.requests else 0.0, one)
        for one in bubble.callbacks
    ]
    if bubble.is_unread and bubble.outbound and statuses:
        calls.append(Moment("confirmed", min(one.after for one in statuses), bubble))
    return [*calls, *statuses]
