"""The timeline of a message."""

from collections.abc import Iterator
from dataclasses import dataclass

from offhook.core.lifecycle import LIVE, State, Trigger, sources
from offhook.core.reasons import Error
from offhook.stores.api import Attempt, History, Record

_TONES = {
    Trigger.RETRY: "warn",
    Trigger.GIVE_UP: "bad",
    Trigger.BURY: "bad",
    Trigger.RESCUE: "warn",
    Trigger.PARK: "warn",
    Trigger.DISCARD: "good",
}
_WORDS = {
    Trigger.RETRY: "failed; will retry",
    Trigger.GIVE_UP: "failed; attempts are exhausted and the message is dead",
    Trigger.DISCARD: "discarded the message",
    Trigger.INTERRUPT: "was interrupted; will restart",
    Trigger.RESCUE: "was lost when its worker died; will restart",
    Trigger.BURY: "was lost when its worker died, and crashes are exhausted; the message is dead",
    Trigger.PARK: "parked the message",
}
_DECISIONS = {Trigger.REPLAY: "Replayed", Trigger.DROP: "Discarded", Trigger.PARK: "Parked"}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A past or scheduled event of a message.

    Attributes:
        at: seconds since the epoch.
        title, text: a sentence.
        tone: `good`, `warn`, `bad`, `busy`, or empty.
        took: its duration in seconds.
        error: the error of an attempt, or empty.
    """

    at: float
    title: str
    text: str
    tone: str = ""
    took: float | None = None
    error: Error = ""


def timeline(history: History) -> list[TimelineEntry]:
    """Return the entries of a message, the oldest first."""
    record = history.record
    received = TimelineEntry(record.received, "Received", "and stored, then acknowledged.", "good")
    steps = [received, *map(_attempt, history.attempts), *_last(record)]
    return sorted(steps, key=lambda step: step.at)


def may(record: Record, trigger: Trigger) -> bool:
    """Return whether an operator may apply a trigger to a message."""
    if trigger is Trigger.REPLAY and record.reduced:
        return False
    return record.state in sources(trigger)


def _attempt(attempt: Attempt) -> TimelineEntry:
    if attempt.started is None:  # no run, but a decision
        title = _DECISIONS.get(attempt.trigger, str(attempt.trigger).capitalize())
        return TimelineEntry(attempt.ended, title, f"{attempt.error}.", "busy")
    return TimelineEntry(
        attempt.ended,
        f"Attempt {attempt.number}",
        f"{_WORDS.get(attempt.trigger, attempt.trigger)}.",
        _TONES.get(attempt.trigger, ""),
        attempt.ended - attempt.started,
        attempt.error,
    )


def _last(record: Record) -> Iterator[TimelineEntry]:
    """Yield entries without a row of their own: the completed run, and the next attempt."""
    if record.state is State.DONE and record.settled is not None:
        took = None if record.started is None else record.settled - record.started
        name = f"Attempt {record.attempts}" if record.attempts else "Done"
        yield TimelineEntry(record.settled, name, "completed.", "good", took)
    elif record.state is State.RUNNING and record.started is not None:
        yield TimelineEntry(record.started, f"Attempt {record.attempts + 1}", "is running.", "busy")
    elif record.state in LIVE and record.due is not None:
        title = "Next attempt" if record.state is State.WAITING else "Next"
        yield TimelineEntry(record.due, title, "at the earliest.", "busy")
