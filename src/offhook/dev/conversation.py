"""The events of one message from acknowledge to settled, for the terminal and the control API."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, SendState, State, Trigger
from offhook.core.messages import Send
from offhook.core.reasons import as_template
from offhook.observe.redaction import last_line
from offhook.stores.api import Attempt, Filter, History, Inbox
from offhook.twilio.simulator import Delivered

_POLL: Final = 0.02  # seconds between two queries for one message
_IN_FLIGHT: Final = frozenset({SendState.PENDING, SendState.SENDING})
_NOT_SENT: Final = frozenset({SendState.CANCELED, SendState.REPLACED})


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The webhook was answered, or its delivery failed.

    Attributes:
        status: the HTTP status; 0 without a response.
        seconds: until the response.
        repeats: the statuses of further deliveries of the same webhook.
        error: Twilio's error code if the delivery failed.
        reason: offhook's name for a refusal, as in `X-Offhook-Error`.
    """

    sid: str
    status: int
    seconds: float
    repeats: tuple[int, ...] = ()
    error: int | None = None
    reason: str = ""

    @classmethod
    def of(cls, delivered: Delivered) -> Self:
        """Return the event for a simulated delivery."""
        return cls(
            delivered.sid, delivered.status, delivered.seconds, delivered.repeats, delivered.error
        )


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply was sent, or failed.

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
        """Whether it is one of offhook's own notices, not a reply of the bot."""
        return self.identity.startswith("notice:")


@dataclass(frozen=True, slots=True)
class Failed:
    """A run of the handler failed.

    Attributes:
        error: the last line of its traceback.
        again: whether it will be retried.
    """

    attempt: int
    error: str
    again: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """The message reached its final state.

    Attributes:
        state: done, discarded, dead or parked.
        attempts: runs of the handler.
        error: the last line of the error, if it is not done.
    """

    state: str
    attempts: int
    error: str = ""


TextEvent = Acknowledged | Replied | Failed | Settled
_EVENTS: Final[Mapping[str, type[TextEvent]]] = {
    event.__name__.lower(): event for event in (Acknowledged, Replied, Failed, Settled)
}


def as_object(event: TextEvent) -> dict[str, Any]:
    """Return an event as a JSON object."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def from_line(line: str) -> TextEvent:
    """Return the event of a line of JSON."""
    found = json.loads(line)
    if "repeats" in found:
        found["repeats"] = tuple(found["repeats"])
    return _EVENTS[found.pop("event")](**found)


async def follow(inbox: Inbox, sid: str) -> AsyncIterator[TextEvent]:
    """Yield the events of a stored message until it is settled and its replies are sent.

    Bound the wait with `asyncio.timeout`.
    """
    yielded: frozenset[tuple[str, int]] = frozenset()
    while True:
        history = await _look(inbox, sid)
        if history is not None:
            for key, event in events(history):
                if key not in yielded:
                    yielded |= {key}
                    yield event
            if is_over(history):
                record = history.record
                yield Settled(record.state, record.attempts, last_line(record.error))
                return
        await asyncio.sleep(_POLL)


def events(history: History) -> tuple[tuple[tuple[str, int], TextEvent], ...]:
    """Return the events so far, each with a stable key."""
    failed = (
        (("attempt", index), _failed(attempt))
        for index, attempt in enumerate(history.attempts)
        if attempt.trigger in {Trigger.RETRY, Trigger.GIVE_UP}
    )
    replied = (
        (("send", send.id), _replied(send))
        for send in history.sends
        if send.state not in _IN_FLIGHT | _NOT_SENT
    )
    return (*failed, *replied)


def is_over(history: History) -> bool:
    """Return whether a message is settled or parked, and no reply to it is pending."""
    if history.record.state in LIVE:
        return False
    return not any(send.state in _IN_FLIGHT for send in history.sends)


def in_words(settled: Settled) -> str:
    """Describe how a message ended."""
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
    said = as_template(send.content_sid, send.fallback_reason) or send.body
    return Replied(send.identity, said, send.state, send.error)
