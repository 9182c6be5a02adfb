"""Decide which processes to start and which to kill; the supervisor carries it out."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

# A child that dies at once dies again: 0.1, 0.2, 0.4, ... 5 s. One that lived for 10 s had started.
BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 5.0
STABLE_AFTER: Final = 10.0
# A broken store stays broken until an operator repairs it: 5, 10, 20, ... 300 s.
BROKEN_BACKOFF: Final = 5.0
MAX_BROKEN_BACKOFF: Final = 300.0

START_TIMEOUT: Final = 120.0
"""Seconds until a worker's first sign of life: bots load models of several gigabytes."""


class Role(StrEnum):
    """What a process does."""

    INGRESS = "ingress"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ProcessSlot:
    """One process that should be running. Times are seconds of a monotonic clock.

    Attributes:
        running: whether its process runs.
        killed: whether that process has been killed, and its exit is awaited.
        started_at: when that process was started.
        last_heartbeat: None before the first.
        failures: consecutive exits within `STABLE_AFTER` seconds, and failed starts.
        due: when the next process may be started.
    """

    role: Role
    number: int
    running: bool = False
    killed: bool = False
    started_at: float = 0.0
    last_heartbeat: float | None = None
    failures: int = 0
    due: float = 0.0

    @property
    def name(self) -> str:
        """The name in logs: `worker-1`."""
        return f"{self.role}-{self.number}"

    def started(self, now: float) -> Self:
        """Return the slot after its process was started."""
        return replace(self, running=True, killed=False, started_at=now, last_heartbeat=None)

    def sent_heartbeat(self, now: float) -> Self:
        """Return the slot after a heartbeat of its process."""
        return replace(self, last_heartbeat=now)

    def was_killed(self) -> Self:
        """Return the slot after its process was killed."""
        return replace(self, killed=True)

    def exited(self, now: float, *, broken: bool = False) -> Self:
        """Return the slot after its process exited, due again after a backoff.

        Args:
            now: the time.
            broken: whether the process exited because its store is broken.
        """
        settled = now - self.started_at >= STABLE_AFTER
        first, last = (BROKEN_BACKOFF, MAX_BROKEN_BACKOFF) if broken else (BACKOFF, MAX_BACKOFF)
        return self._delayed(now, 1 if settled else self.failures + 1, first, last)

    def start_failed(self, now: float) -> Self:
        """Return the slot after a failed start, due again after a backoff."""
        return self._delayed(now, self.failures + 1, BACKOFF, MAX_BACKOFF)

    def _delayed(self, now: float, failures: int, first: float, last: float) -> Self:
        # The exponent is bounded first: 2.0 ** 1100 would overflow.
        pause = min(last, first * 2.0 ** min(failures - 1, 10))
        return replace(self, running=False, failures=failures, due=now + pause)

    def hangs_at(self, silence: float) -> float | None:
        """Return when its process counts as hung; None if it sends no heartbeats.

        Args:
            silence: seconds without a heartbeat.
        """
        if self.role is not Role.WORKER or self.killed:
            return None  # only workers run handlers, which may block
        if self.last_heartbeat is None:
            return self.started_at + max(START_TIMEOUT, silence)
        return self.last_heartbeat + silence


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes to start and to kill now.

    Attributes:
        start: slots whose process is to be started.
        kill: slots whose process hangs, or has not exited in time.
        wake: seconds until the next decision; None if only an event can change it.
        done: every process has exited and none will be started.
    """

    start: tuple[ProcessSlot, ...] = ()
    kill: tuple[ProcessSlot, ...] = ()
    wake: float | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts, in seconds.

    Attributes:
        silence: between two heartbeats of a worker.
        drain: from `stop` until the processes that still run are killed.
    """

    silence: float
    drain: float


@dataclass(frozen=True, slots=True)
class Situation:
    """The state that a plan is made from.

    Attributes:
        stopping: when `stop` was called; None before.
    """

    slots: tuple[ProcessSlot, ...]
    now: float
    stopping: float | None = None
    limits: Limits = field(default=Limits(silence=40.0, drain=30.0))


def plan(situation: Situation) -> Plan:
    """Return which processes to start and to kill."""
    if situation.stopping is not None:
        return _plan_end(situation, situation.stopping + situation.limits.drain)
    now = situation.now
    start: list[ProcessSlot] = []
    kill: list[ProcessSlot] = []
    waiting: list[ProcessSlot] = []
    for slot in situation.slots:
        if not slot.running:
            (start if slot.due <= now else waiting).append(slot)
        elif (hangs := slot.hangs_at(situation.limits.silence)) is not None and hangs <= now:
            kill.append(slot)
        elif hangs is not None:
            waiting.append(replace(slot, due=hangs))
    wake = min((slot.due - now for slot in waiting), default=None)
    return Plan(start=tuple(start), kill=tuple(kill), wake=wake)


def _plan_end(situation: Situation, deadline: float) -> Plan:
    left = tuple(slot for slot in situation.slots if slot.running)
    if not left:
        return Plan(done=True)
    if situation.now >= deadline:
        return Plan(kill=tuple(slot for slot in left if not slot.killed))
    return Plan(wake=deadline - situation.now)
