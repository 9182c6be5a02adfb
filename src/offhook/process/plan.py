"""Which processes to start and to kill: decided here, without doing either."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

# A child that dies at once dies again: 0.1, 0.2, 0.4, ... 5 s. One that lived for 10 s had started.
BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 5.0
SETTLED_AFTER: Final = 10.0
# One that has ended because of its store does so again until somebody has mended it: 5, ... 300 s.
BROKEN_BACKOFF: Final = 5.0
MAX_BROKEN_BACKOFF: Final = 300.0

START_LIMIT: Final = 120.0
"""Seconds until a worker's first sign of life: bots load models of several gigabytes."""


class Role(StrEnum):
    """What a process does."""

    INGRESS = "ingress"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Seat:
    """A place that one process at a time should fill. Times are seconds of a monotonic clock.

    Attributes:
        running: whether a process fills it.
        killed: whether that process has been killed; its end is waited for.
        since: when that process was started.
        heard: when it last gave a sign of life; None before the first.
        deaths: of processes here, in a row, none of which lived for `SETTLED_AFTER`, or started.
        due: when the next may be started.
    """

    role: Role
    number: int
    running: bool = False
    killed: bool = False
    since: float = 0.0
    heard: float | None = None
    deaths: int = 0
    due: float = 0.0

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.role}-{self.number}"

    def started(self, now: float) -> Self:
        """Return the seat with a process that has just been started."""
        return replace(self, running=True, killed=False, since=now, heard=None)

    def gave_sign(self, now: float) -> Self:
        """Return the seat whose process has just been heard of."""
        return replace(self, heard=now)

    def struck(self) -> Self:
        """Return the seat whose process has just been killed."""
        return replace(self, killed=True)

    def died(self, now: float, *, broken: bool = False) -> Self:
        """Return the seat without its process, and when it may be filled again.

        Args:
            now: the time.
            broken: whether the process has ended because its store is broken.
        """
        settled = now - self.since >= SETTLED_AFTER
        first, last = (BROKEN_BACKOFF, MAX_BROKEN_BACKOFF) if broken else (BACKOFF, MAX_BACKOFF)
        return self._put_off(now, 1 if settled else self.deaths + 1, first, last)

    def not_started(self, now: float) -> Self:
        """Return the seat for which no process could be started, and when to try again."""
        return self._put_off(now, self.deaths + 1, BACKOFF, MAX_BACKOFF)

    def _put_off(self, now: float, deaths: int, first: float, last: float) -> Self:
        # The exponent is bounded first: 2.0 ** 1100 would overflow.
        pause = min(last, first * 2.0 ** min(deaths - 1, 10))
        return replace(self, running=False, deaths=deaths, due=now + pause)

    def silent_at(self, silence: float) -> float | None:
        """Return when its process counts as standing still; None for one that is not awaited.

        Args:
            silence: seconds without a sign of life.
        """
        if self.role is not Role.WORKER or self.killed:
            return None  # the others run nobody's handlers
        if self.heard is None:
            return self.since + max(START_LIMIT, silence)
        return self.heard + silence


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        start: seats to fill.
        kill: seats whose process stands still, or has used up its time to end.
        wake: seconds until the next decision is due by the clock; None when none is.
        over: nothing runs, and nothing shall.
    """

    start: tuple[Seat, ...] = ()
    kill: tuple[Seat, ...] = ()
    wake: float | None = None
    over: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds.

    Attributes:
        silence: between two of a worker's signs of life.
        drain: from the word to stop until what still runs is killed.
    """

    silence: float
    drain: float


@dataclass(frozen=True, slots=True)
class Situation:
    """All there is to know for a decision.

    Attributes:
        stopping: when the word to stop came; None before it.
    """

    seats: tuple[Seat, ...]
    now: float
    stopping: float | None = None
    limits: Limits = field(default=Limits(silence=40.0, drain=30.0))


def plan(situation: Situation) -> Plan:
    """Return what to do in a situation."""
    if situation.stopping is not None:
        return _plan_end(situation, situation.stopping + situation.limits.drain)
    now = situation.now
    start: list[Seat] = []
    kill: list[Seat] = []
    waits: list[Seat] = []
    for seat in situation.seats:
        if not seat.running:
            (start if seat.due <= now else waits).append(seat)
        elif (silent := seat.silent_at(situation.limits.silence)) is not None and silent <= now:
            kill.append(seat)
        elif silent is not None:
            waits.append(replace(seat, due=silent))
    wake = min((seat.due - now for seat in waits), default=None)
    return Plan(start=tuple(start), kill=tuple(kill), wake=wake)


def _plan_end(situation: Situation, deadline: float) -> Plan:
    left = tuple(seat for seat in situation.seats if seat.running)
    if not left:
        return Plan(over=True)
    if situation.now >= deadline:
        return Plan(kill=tuple(seat for seat in left if not seat.killed))
    return Plan(wake=deadline - situation.now)
