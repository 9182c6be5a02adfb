"""Decide how a run's result settles its message. Pure; the worker carries it out."""

import traceback
from dataclasses import dataclass, replace
from typing import Final

from offhook.core.backoff import delay as backoff
from offhook.core.lifecycle import Trigger
from offhook.core.reasons import Cause, Error, Explanation
from offhook.errors import Discard, HandlerSignal, NotAwaited, RetryLater
from offhook.stores.api import Claim, Draft, Settlement
from offhook.worker.terms import Terms

MAX_ERROR: Final = 10_000
"""Characters of a traceback that are kept, from its end, where the error is."""

MAX_DELAY: Final = 365 * 86_400.0
"""Seconds; keeps `RetryLater(inf)` within what a store can write."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler returned, or there was nothing to run.

    Attributes:
        state: of the conversation, as of `Settlement`.
    """

    drafts: tuple[Draft, ...] = ()
    state: bytes | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised, or something on the way to it did."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler took longer than `limit` seconds."""

    limit: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker is stopping; the message may be claimed again in `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Unhandled:
    """No handler matched the message, or the request it came from is not Twilio's."""

    why: Explanation


@dataclass(frozen=True, slots=True)
class LoopSuspected:
    """`turns` replies were answered at a program's pace: two bots are suspected."""

    turns: int


@dataclass(frozen=True, slots=True)
class SenderLimited:
    """The sender has sent more than `limit` messages in a window of `seconds`.

    The person is notified of the first excess of a window, in which `notifies` is true.
    """

    limit: int
    seconds: float
    notifies: bool


Result = Returned | Raised | TimedOut | Interrupted | Unhandled | LoopSuspected | SenderLimited


def decide(result: Result, claim: Claim, terms: Terms, jitter: float) -> Settlement:
    """Return how a run settles its message.

    Args:
        result: of the run.
        claim: of the run.
        terms: of the run.
        jitter: in [0, 1), for the delay before the next attempt.
    """
    settlement = _decide(result, claim, terms, jitter)
    error = _storable(settlement.error)
    if (error, terms.cancel_lane) == (settlement.error, False):
        return settlement
    return replace(settlement, error=error, cancel_lane=terms.cancel_lane)


def _decide(  # noqa: PLR0911 - a table, one line a result
    result: Result, claim: Claim, terms: Terms, jitter: float
) -> Settlement:
    match result:
        case Returned(drafts, state):
            return Settlement(Trigger.COMPLETE, drafts=drafts, state=state)
        case Unhandled(why):
            return Settlement(Trigger.DISCARD, error=why)
        case LoopSuspected():
            return Settlement(Trigger.PARK, error=describe(result))
        case SenderLimited(notifies=notifies):
            drafts = _drafts(terms.notices.limit() if terms.notices and notifies else None)
            return Settlement(Trigger.PARK, error=describe(result), drafts=drafts)
        case Interrupted(delay):
            return Settlement(Trigger.INTERRUPT, error=describe(result), delay=delay)
        case Raised(Discard() as signal):
            return Settlement(Trigger.DISCARD, error=signal.reason or Cause.DISCARDED())
        case Raised(RetryLater() as signal):
            asked = signal.reason or Cause.POSTPONED(signal.after)
            return _again(asked, min(signal.after, MAX_DELAY), claim, terms)
        case TimedOut() | Raised(NotAwaited()):
            return _again(describe(result), backoff(claim.attempt, jitter), claim, terms)
        case Raised(error):
            return _again(traceback_of(error), backoff(claim.attempt, jitter), claim, terms)


def _again(error: Error, delay: float, claim: Claim, terms: Terms) -> Settlement:
    if not terms.is_last(claim):
        return Settlement(Trigger.RETRY, error=error, delay=delay, holds_lane=terms.holds_lane)
    drafts = _drafts(terms.notices.failure() if terms.notices else None)
    return Settlement(Trigger.GIVE_UP, error=error, drafts=drafts)


def _drafts(notice: Draft | None) -> tuple[Draft, ...]:
    return () if notice is None else (notice,)


def describe(result: Result) -> Error:  # noqa: PLR0911 - a table, one line a result
    """Return why a run did not succeed, quoting no message; empty when it did."""
    match result:
        case Returned():
            return ""
        case Raised(NotAwaited() as error):
            return Cause.NOT_AWAITED(error.where)
        case Raised(error):
            return type(error).__name__
        case TimedOut(limit):
            return Cause.TIMED_OUT(limit)
        case Interrupted():
            return Cause.WORKER_STOPPED()
        case Unhandled(why):
            return why
        case LoopSuspected(turns):
            return Cause.LOOP_SUSPECTED(turns)
        case SenderLimited(limit, seconds):
            return Cause.SENDER_LIMIT(limit, seconds)


def _storable(error: Error) -> Error:
    """Escape lone surrogates (of file names, say), which no store can write."""
    return error.encode("utf-8", "backslashreplace").decode() if isinstance(error, str) else error


def traceback_of(error: BaseException) -> str:
    """Return the end of a traceback, without local variables, which hold messages' texts."""
    if isinstance(error, HandlerSignal):
        return str(error)
    return "".join(traceback.format_exception(error))[-MAX_ERROR:]
