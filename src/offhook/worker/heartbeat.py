"""Renew a worker's leases, and report a blocked event loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from offhook.clock import elapsed
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.api import Store
from offhook.stores.availability import StoreWatch

_TICK: Final = 0.2  # seconds between two timers of the loop
_RETRY: Final = 1.0  # seconds, at most, until a renewal that failed is repeated
_RENEWALS: Final = 3  # in a lease: two may fail
BLOCKED: Final = 0.5
"""Seconds for which the loop may be blocked before it is reported. An ingress that shares the loop
answers nothing meanwhile."""
_QUIET: Final = 10.0  # seconds between two reports, so that the log stays readable
# Seconds; a heartbeat whose store hangs is not waited for longer: it is a daemon thread.
_JOIN: Final = 2.0


class LoopMonitor:
    """Measures how long the running event loop has been blocked.

    Args:
        observer: called when the loop was blocked for longer than `BLOCKED`.
        resumed: called on the loop when it runs again, before the tasks that became ready
            meanwhile: timers come before them.
    """

    def __init__(self, observer: Observer, resumed: Callable[[], None] = lambda: None) -> None:
        self._observer = observer
        self._resumed = resumed
        self._loop = asyncio.get_running_loop()
        self._reported = -_QUIET
        self._last = elapsed()
        self._timer = self._loop.call_later(_TICK, self._tick)

    def age(self) -> float:
        """Return the seconds since the last tick. May be called on any thread."""
        return elapsed() - self._last

    def stop(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _tick(self) -> None:
        blocked = self.age() - _TICK
        self._last = elapsed()
        self._timer = self._loop.call_later(_TICK, self._tick)
        if blocked <= BLOCKED:
            return
        self._resumed()
        if self._last - self._reported > _QUIET:
            self._reported = self._last
            text = (
                f"the event loop was blocked for {blocked:.1f} s: by an async handler (make it a "
                "def, which runs in a thread, or await what it waits for), or the process was "
                "stopped"
            )
            self._observer(Problem(Topic.HANDLER_BLOCKS, text))


class Heartbeat:
    """Renews leases on a thread of its own, so that a handler that blocks the loop loses none.

    It has an event loop and a store of its own. Once the worker's loop has been blocked for longer
    than `stall_limit`, it renews nothing: the supervisor replaces the worker, and the leases run
    out.

    Args:
        open_store: makes a store that is not open yet.
        loop_monitor: of the worker's loop.
        tokens: returns the leases to renew; called on this thread.
        renewed: called on this thread with the renewed leases, and until when they last, by
            `elapsed`.
        lost: called on the worker's loop with the lost leases.
        observer: called when leases can't be renewed, and when they can again.
        lease: seconds.
        stall_limit: seconds.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        loop_monitor: LoopMonitor,
        *,
        tokens: Callable[[], Sequence[int]],
        renewed: Callable[[frozenset[int], float], None],
        lost: Callable[[frozenset[int]], None],
        observer: Observer,
        lease: float,
        stall_limit: float,
    ) -> None:
        self._open_store = open_store
        self._loop_monitor = loop_monitor
        self._tokens = tokens
        self._renewed = renewed
        self._lost = lost
        self._watch = StoreWatch(observer, "leases are not renewed")
        self._lease = lease
        self._stall_limit = stall_limit
        self._home = asyncio.get_running_loop()
        self._stopped = False
        self._cancel: Callable[[], object] | None = None
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="offhook-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, and wait until it has closed its store."""
        self._stopped = True
        if self._cancel is not None:
            self._cancel()
        if await wait_for_event(self._ended, _JOIN):
            self._thread.join()

    # On the thread

    def _main(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._live())
        _call(self._home, self._ended.set)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        renewing = asyncio.create_task(self._renew())
        self._cancel = lambda: _call(loop, renewing.cancel)
        # `stop` sets `_stopped` and then reads `_cancel`; this side does it the other way round.
        if self._stopped:
            renewing.cancel()
        await renewing

    async def _renew(self) -> None:
        """Renew until cancelled, with a new store after each failure."""
        while True:
            store = self._open_store()
            try:
                await store.open()
                while True:
                    if self._loop_monitor.age() <= self._stall_limit:
                        await self._renew_once(store)
                    await asyncio.sleep(self._lease / _RENEWALS)
            except StoreUnavailable as error:
                self._watch.away(error)
            finally:
                await store.close()
            # Sooner than after a success: a third of the lease has gone by already.
            await asyncio.sleep(min(_RETRY, self._lease / _RENEWALS / 2))

    async def _renew_once(self, store: Store) -> None:
        tokens = frozenset(self._tokens())
        if tokens:
            began = elapsed()
            lost = await store.renew(tuple(tokens), lease=self._lease)
            self._renewed(tokens - lost, began + self._lease)
            if lost:
                _call(self._home, lambda: self._lost(lost))
        self._watch.back()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function)
