"""What becomes of a message, step by step, as it is told to people and over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, SendState, State, Trigger
from offhook.core.messages import Send
from offhook.observe.redaction import last_line
from offhook.stores.api import Attempt, Filter, History, Inbox
from offhook.twilio.simulator import Delivered

_POLL: Final = 0.02  # seconds; one message is looked at, while somebody waits for it
_IN_FLIGHT: Final = frozenset({SendState.PENDING, SendState.SENDING})


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The webhook was answered, or not.

    Attributes:
        status: HTTP's; 0 without an answer.
        seconds: until the answer.
        repeats: the statuses of further deliveries of the same webhook.
        error: Twilio's error code when it was not accepted.
        reason: how offhook names what it refused, as in `X-Offhook-Error`.
    """

    sid: str
    status: int
    seconds: float
    repeats: tuple[int, ...] = ()
    error: int | None = None
    reason: str = ""

    @classmethod
    def of(cls, delivered: Delivered) -> Self:
        """Return what a simulated delivery came to."""
        return cls(
            delivered.sid, delivered.status, delivered.seconds, delivered.repeats, delivered.error
        )


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply reached its end.

    Attributes:
        identity: `return:0`, `reply:0`, `notice:slow`, ...
        state: sent, failed, unknown or canceled.
    """

    identity: str
    body: str
    state: str
    error: str = ""

    @property
    def is_notice(self) -> bool:
        """Whether offhook wrote it, not the bot."""
        return self.identity.startswith("notice:")


@dataclass(frozen=True, slots=True)
class Failed:
    """A run of the handler did not complete.

    Attributes:
        error: its last line.
        again: whether it is tried again.
    """

    attempt: int
    error: str
    again: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more is going to happen.

    Attributes:
        state: done, discarded, dead or parked.
        attempts: how often the handler was run.
        error: why it is not done: the last line.
    """

    state: str
    attempts: int
    error: str = ""


TextEvent = Acknowledged | Replied | Failed | Settled
_STEPS: Final[Mapping[str, type[TextEvent]]] = {
    step.__name__.lower(): step for step in (Acknowledged, Replied, Failed, Settled)
}


def as_object(step: TextEvent) -> dict[str, Any]:
    """Return a step as JSON shows it."""
    return {"event": type(step).__name__.lower(), **asdict(step)}


def from_line(line: str) -> TextEvent:
    """Return the step that a line of JSON holds."""
    found = json.loads(line)
    if "repeats" in found:
        found["repeats"] = tuple(found["repeats"])
    return _STEPS[found.pop("event")](**found)


async def follow(inbox: Inbox, sid: str) -> AsyncIterator[TextEvent]:
    """Yield what happens to a stored message until it is settled and its replies are on their way.

    Bound the wait with `asyncio.timeout`.
    """
    told: frozenset[tuple[str, int]] = frozenset()
    while True:
        history = await _look(inbox, sid)
        if history is not None:
            for key, step in steps(history):
                if key not in told:
                    told |= {key}
                    yield step
            if is_over(history):
                record = history.record
                yield Settled(record.state, record.attempts, last_line(record.error))
                return
        await asyncio.sleep(_POLL)


def steps(history: History) -> tuple[tuple[tuple[str, int], TextEvent], ...]:
    """Return what has happened so far, each with a key that stays the same."""
    failed = (
        (("attempt", index), _failed(attempt))
        for index, attempt in enumerate(history.attempts)
        if attempt.trigger in {Trigger.RETRY, Trigger.GIVE_UP}
    )
    replied = (
        (("send", send.id), _replied(send))
        for send in history.sends
        if send.state not in _IN_FLIGHT and send.state is not SendState.CANCELED
    )
    return (*failed, *replied)


def is_over(history: History) -> bool:
    """Return whether a message is settled or set aside, and no reply to it is on its way."""
    if history.record.state in LIVE:
        return False
    return not any(send.state in _IN_FLIGHT for send in history.sends)


def in_words(settled: Settled) -> str:
    """Return how a message ended, for people."""
    match State(settled.state):
        case State.DONE:
            return (
                "handled once"
                if settled.attempts == 1
                else f"handled in {settled.attempts} attempts"
            )
        case State.DEAD:
            return f"dead after {settled.attempts} attempts, kept for replay"
        case State.DISCARDED:
            return f"discarded: {settled.error}" if settled.error else "discarded"
        case _:
            return f"{settled.state}: {settled.error}"


async def _look(inbox: Inbox, sid: str) -> History | None:
    found = await inbox.find(Filter(kind=Kind.MESSAGE, sid=sid, limit=1))
    return await inbox.show(found[0].id) if found else None


def _failed(attempt: Attempt) -> Failed:
    return Failed(attempt.number, last_line(attempt.error), attempt.trigger is Trigger.RETRY)


def _replied(send: Send) -> Replied:
    return Replied(send.identity, send.body, send.state, send.error)
