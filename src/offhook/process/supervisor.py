"""Keeps a set of processes running, until told to stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.errors import StoreError
from offhook.process.child import Child, describe_exit
from offhook.process.exit_codes import STORE_BROKEN
from offhook.process.plan import Limits, Plan, Role, Seat, Situation, plan
from offhook.worker.role import owner_name

_log = logging.getLogger("offhook.supervisor")

# Seconds. A lifeline tells of a death at once; this is for the case that something a handler has
# forked still holds its other end.
_LOOK_AFTER: Final = 1.0
_DYING: Final = 0.02  # until a process whose lifeline is cut can be asked for its exit status

Spawn = Callable[[Seat, str], Child]
"""Starts the process for a seat, under a name for its leases."""


@dataclass(frozen=True, slots=True)
class _Place:
    child: Child
    owner: str


class Supervisor:
    """Starts processes, replaces those that die or stand still, and ends them in good order.

    Args:
        seats: what shall run.
        spawn: starts a process.
        release: called with a dead worker's name: its messages go on at once, not after a lease.
        on_ready: called once, when the first ingress has given a sign of life, or the first
            worker where there is no ingress.
        limits: how long things may take.
    """

    def __init__(
        self,
        seats: Iterable[Seat],
        *,
        spawn: Spawn,
        release: Callable[[str], Awaitable[object]],
        on_ready: Callable[[], None],
        limits: Limits,
    ) -> None:
        self._seats = {seat.name: seat for seat in seats}
        self._places: dict[str, _Place] = {}
        self._spawn = spawn
        self._release = release
        self._on_ready = on_ready
        roles = {seat.role for seat in self._seats.values()}
        self._awaited = Role.INGRESS if Role.INGRESS in roles else Role.WORKER
        self._ready = False
        self._limits = limits
        self._stopping: float | None = None
        self._changed = asyncio.Event()
        self._dying: set[str] = set()
        self._failing: dict[str, str] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until everything has ended after `stop`."""
        try:
            while not (decided := self._decide()).over:
                self._act(decided)
                await self._pause(decided.wake)
        finally:
            for place in self._places.values():
                place.child.kill()
        await asyncio.gather(*self._releases)

    def stop(self) -> None:
        """Let the processes finish what they have begun; told again, end them now."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            for place in self._places.values():
                place.child.ask_to_end()
        else:
            self._stopping = -self._limits.drain  # long ago
        self._changed.set()

    def _decide(self) -> Plan:
        self._changed.clear()
        now = time.monotonic()
        for name, place in tuple(self._places.items()):
            status = place.child.poll()
            if status is not None:
                self._bury(self._seats[name], place, status, now)
        return plan(Situation(tuple(self._seats.values()), now, self._stopping, self._limits))

    def _act(self, decided: Plan) -> None:
        for seat in decided.kill:
            why = "stands still" if self._stopping is None else "has not ended in time"
            _log.error("%s %s and is killed: its messages are not lost", seat.name, why)
            self._places[seat.name].child.kill()
            self._seats[seat.name] = seat.struck()
        for seat in decided.start:
            self._fill(seat)

    async def _pause(self, wake: float | None) -> None:
        longest = _DYING if self._dying else _LOOK_AFTER
        await wait_for_event(self._changed, longest if wake is None else min(longest, wake))

    def _fill(self, seat: Seat) -> None:
        owner = f"{owner_name()}-{seat.name}"
        try:
            child = self._spawn(seat, owner)
        except (OSError, MemoryError) as error:
            self._put_off(seat, error)
            return
        if self._failing.pop(seat.name, ""):
            _log.info("%s has been started again", seat.name)
        self._places[seat.name] = _Place(child, owner)
        self._seats[seat.name] = seat.started(time.monotonic())
        child.watch(lambda lives: self._hear(seat.name, lives=lives))
        _log.debug("%s is process %d", seat.name, child.pid)

    def _put_off(self, seat: Seat, error: OSError | MemoryError) -> None:
        """Retry later, and leave the running processes alone: the shortage may pass."""
        self._seats[seat.name] = seat.not_started(time.monotonic())
        reason = getattr(error, "strerror", None) or type(error).__name__
        if self._failing.get(seat.name) != reason:
            self._failing[seat.name] = reason
            _log.error("%s can't be started, and will be retried: %s", seat.name, reason)

    def _hear(self, name: str, *, lives: bool) -> None:
        if not lives:
            self._dying.add(name)
            self._changed.set()
            return
        self._seats[name] = seat = self._seats[name].gave_sign(time.monotonic())
        if seat.role is self._awaited and not self._ready:
            self._ready = True
            self._on_ready()

    def _bury(self, seat: Seat, place: _Place, status: int, now: float) -> None:
        place.child.forget()
        del self._places[seat.name]
        self._dying.discard(seat.name)
        broken = status == STORE_BROKEN
        self._seats[seat.name] = empty = seat.died(now, broken=broken)
        if self._stopping is None:
            _log.warning(
                "%s %s%s; another is started in %.1f s",
                seat.name,
                describe_exit(status),
                ": its store is broken" if broken else "",
                empty.due - now,
            )
        if seat.role is Role.WORKER and status != 0:
            task = asyncio.create_task(self._let_go(place.owner))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def _let_go(self, owner: str) -> None:
        try:
            await self._release(owner)
        except (StoreError, OSError, RuntimeError) as error:  # no descriptor, no thread
            _log.warning("its messages go on when their leases run out: %s", error)
