"""A worker's signs of life: leases renewed and the supervisor told, while its loop moves."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from offhook.errors import StoreUnavailable
from offhook.events import Observer, Topic, Trouble
from offhook.patience import StoreWatch
from offhook.ports import Store

_TICK: Final = 0.2  # seconds between two signs that the loop moves
_BEAT: Final = 1.0  # seconds between two signs of life to the supervisor
_RENEWALS: Final = 3  # in a lease: two may fail
BLOCKED: Final = 0.5
"""Seconds for which the loop may stand still before it is told. Whoever shares it with the
handlers, an ingress above all, does nothing meanwhile."""
_QUIET: Final = 10.0  # seconds between two such tellings, so that the log stays readable
_JOIN: Final = 2.0  # seconds; a heartbeat whose store hangs is left behind, it is a daemon


class Pulse:
    """Ticks on the running event loop, and notices when it stood still.

    Args:
        observer: is told of handlers that block.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._told = -_QUIET
        self._last = time.monotonic()
        self._timer = self._loop.call_later(_TICK, self._tick)

    def age(self) -> float:
        """Return the seconds since the loop moved last. May be called on any thread."""
        return time.monotonic() - self._last

    def stop(self) -> None:
        """Tick no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        stood = self.age() - _TICK
        self._last = time.monotonic()
        self._timer = self._loop.call_later(_TICK, self._tick)
        if stood > BLOCKED and self._last - self._told > _QUIET:
            self._told = self._last
            text = (
                f"the event loop stood still for {stood:.1f} s: an async handler blocks it; "
                "make it a def, which runs in a thread, or await what it waits for"
            )
            self._observer(Trouble(Topic.HANDLER_BLOCKS, text))


class Heartbeat:
    """A thread that renews leases, so that a handler which holds up the loop costs none.

    It has a loop and a store of its own. Once the worker's loop has stood still for longer than
    `stall_limit`, it does nothing: the supervisor replaces the worker, and the leases run out.

    Args:
        open_store: makes a store that is not open yet.
        pulse: of the worker's loop.
        tokens: returns the leases to renew; called on this thread.
        lost: is told, on the worker's loop, which leases are lost.
        observer: is told when leases can't be renewed.
        lease: seconds.
        stall_limit: seconds.
        beat: the supervisor's sign of life; called every second on this thread.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        pulse: Pulse,
        *,
        tokens: Callable[[], Sequence[int]],
        lost: Callable[[frozenset[int]], None],
        observer: Observer,
        lease: float,
        stall_limit: float,
        beat: Callable[[], None] | None,
    ) -> None:
        self._open_store = open_store
        self._pulse = pulse
        self._tokens = tokens
        self._lost = lost
        self._watch = StoreWatch(observer, "leases are not renewed")
        self._lease = lease
        self._stall_limit = stall_limit
        self._beat = beat
        self._home = asyncio.get_running_loop()
        self._stopped = False
        self._cancel: Callable[[], object] | None = None
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="offhook-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, and wait until it has let go of its store."""
        self._stopped = True
        if self._cancel is not None:
            self._cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_JOIN):
                await self._ended.wait()
                self._thread.join()

    # On the thread

    def _main(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._live())
        _call(self._home, self._ended.set)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_beating()), group.create_task(self._renew())]

            def cancel() -> None:
                for task in tasks:
                    task.cancel()

            self._cancel = lambda: _call(loop, cancel)
            # `stop` looks for `_cancel` after it has set this: whichever comes first, one sees it.
            if self._stopped:
                cancel()

    def _is_alive(self) -> bool:
        return self._pulse.age() <= self._stall_limit

    async def _keep_beating(self) -> None:
        while self._beat is not None:
            if self._is_alive():
                self._beat()
            await asyncio.sleep(_BEAT)

    async def _renew(self) -> None:
        """Renew for ever, with a new store after each failure."""
        while True:
            store = self._open_store()
            try:
                await store.open()
                while True:
                    if self._is_alive():
                        await self._renew_once(store)
                    await asyncio.sleep(self._lease / _RENEWALS)
            except StoreUnavailable as error:
                self._watch.away(error)
            finally:
                await store.close()
            # Sooner than after a success: a third of the lease has gone by already.
            await asyncio.sleep(min(_BEAT, self._lease / _RENEWALS / 2))

    async def _renew_once(self, store: Store) -> None:
        tokens = self._tokens()
        if tokens and (lost := await store.renew(tokens, lease=self._lease)):
            _call(self._home, lambda: self._lost(lost))
        self._watch.back()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # that loop has been closed
        loop.call_soon_threadsafe(function)
