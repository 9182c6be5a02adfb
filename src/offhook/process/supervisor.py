"""Keep a set of processes running until `stop` is called."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.errors import StoreError
from offhook.process.child import STORE_BROKEN, Child, LifelineEvent, describe_exit
from offhook.process.plan import Limits, Plan, ProcessSlot, Role, Situation, plan
from offhook.worker.owner import owner_name

_log = logging.getLogger("offhook.supervisor")

# Seconds. A lifeline closes when its process exits, unless a process that a handler has forked
# still holds the other end.
_POLL_INTERVAL: Final = 1.0
_EXIT_DELAY: Final = 0.02  # seconds until a process whose lifeline is closed has an exit status

Spawn = Callable[[ProcessSlot, str], Child]
"""Starts the process of a slot; the name is the owner of its leases."""


@dataclass(frozen=True, slots=True)
class _Process:
    child: Child
    owner: str


class Supervisor:
    """Start processes, replace those that exit or hang, and stop them gracefully.

    Args:
        slots: the processes to run.
        spawn: starts a process.
        release: called with the name of a crashed worker, to release its leases before they expire.
        on_ready: called once, when an ingress is ready, or a worker where there is no ingress.
        limits: timeouts.
    """

    def __init__(
        self,
        slots: Iterable[ProcessSlot],
        *,
        spawn: Spawn,
        release: Callable[[str], Awaitable[object]],
        on_ready: Callable[[], None],
        limits: Limits,
    ) -> None:
        self._slots = {slot.name: slot for slot in slots}
        self._running: dict[str, _Process] = {}
        self._spawn = spawn
        self._release = release
        self._on_ready = on_ready
        roles = {slot.role for slot in self._slots.values()}
        self._ready_role = Role.INGRESS if Role.INGRESS in roles else Role.WORKER
        self._ready = False
        self._limits = limits
        self._stopping: float | None = None
        self._changed = asyncio.Event()
        self._exiting: set[str] = set()
        self._start_errors: dict[str, str] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until `stop` has been called and every process has exited."""
        try:
            while not (decided := self._decide()).done:
                self._act(decided)
                await self._pause(decided.wake)
        finally:
            for process in self._running.values():
                process.child.kill()
        await asyncio.gather(*self._releases)

    def stop(self) -> None:
        """Let the processes finish their current work; called again, kill them."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            for process in self._running.values():
                process.child.terminate()
        else:
            self._stopping = -self._limits.drain  # long ago
        self._changed.set()

    def _decide(self) -> Plan:
        self._changed.clear()
        now = time.monotonic()
        for name, process in tuple(self._running.items()):
            status = process.child.poll()
            if status is not None:
                self._reap(self._slots[name], process, status, now)
        return plan(Situation(tuple(self._slots.values()), now, self._stopping, self._limits))

    def _act(self, decided: Plan) -> None:
        for slot in decided.kill:
            why = "is not responding" if self._stopping is None else "has not exited in time"
            _log.error("%s %s; killing it. Its messages will be retried", slot.name, why)
            self._running[slot.name].child.kill()
            self._slots[slot.name] = slot.was_killed()
        for slot in decided.start:
            self._start(slot)

    async def _pause(self, wake: float | None) -> None:
        longest = _EXIT_DELAY if self._exiting else _POLL_INTERVAL
        await wait_for_event(self._changed, longest if wake is None else min(longest, wake))

    def _start(self, slot: ProcessSlot) -> None:
        owner = f"{owner_name()}-{slot.name}"
        try:
            child = self._spawn(slot, owner)
        except (OSError, MemoryError) as error:
            self._retry_later(slot, error)
            return
        if self._start_errors.pop(slot.name, ""):
            _log.info("%s has restarted", slot.name)
        self._running[slot.name] = _Process(child, owner)
        self._slots[slot.name] = slot.started(time.monotonic())
        child.watch(lambda event: self._on_lifeline(slot.name, event))
        _log.debug("%s is process %d", slot.name, child.pid)

    def _retry_later(self, slot: ProcessSlot, error: OSError | MemoryError) -> None:
        """Retry later and keep the other processes running: the shortage may be temporary."""
        self._slots[slot.name] = slot.start_failed(time.monotonic())
        reason = getattr(error, "strerror", None) or type(error).__name__
        if self._start_errors.get(slot.name) != reason:
            self._start_errors[slot.name] = reason
            _log.error("%s can't be started; retrying: %s", slot.name, reason)

    def _on_lifeline(self, name: str, event: LifelineEvent) -> None:
        if event is LifelineEvent.CLOSED:
            self._exiting.add(name)
            self._changed.set()
            return
        self._slots[name] = slot = self._slots[name].sent_heartbeat(time.monotonic())
        first = slot.role is self._ready_role and not self._ready
        # Once it is stopped, what it listened on is closed.
        if event is LifelineEvent.READY and first and self._stopping is None:
            self._ready = True
            self._on_ready()

    def _reap(self, slot: ProcessSlot, process: _Process, status: int, now: float) -> None:
        process.child.close()
        del self._running[slot.name]
        self._exiting.discard(slot.name)
        broken = status == STORE_BROKEN
        self._slots[slot.name] = slot = slot.exited(now, broken=broken)
        if self._stopping is None:
            _log.warning(
                "%s %s%s; restarting in %.1f s",
                slot.name,
                describe_exit(status),
                ": its store is broken" if broken else "",
                slot.due - now,
            )
        if slot.role is Role.WORKER and status != 0:
            task = asyncio.create_task(self._release_leases(process.owner))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def _release_leases(self, owner: str) -> None:
        try:
            await self._release(owner)
        except (StoreError, OSError, RuntimeError) as error:  # no descriptor, no thread
            _log.warning("its messages wait until their leases expire: %s", error)
