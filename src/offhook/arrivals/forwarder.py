"""Forward webhooks from the spool to the store, in the order of their receipt."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from offhook.arrivals.breaker import describe
from offhook.arrivals.file import logs_of
from offhook.arrivals.logs import Readable
from offhook.arrivals.record import NS_OF_S
from offhook.arrivals.spool import Spool
from offhook.concurrency import wait_for_event
from offhook.core.inbound import Inbound
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Sorted, Topic

FEW: Final = 256
"""Webhooks in a spool that is as good as empty, and as many as are stored with one call."""

_POLL: Final = 0.25  # seconds between looks at an empty spool; each reads a few bytes of memory
_SHORTEST_PAUSE: Final = 0.02  # seconds between looks at one that is about to be empty
_LONGEST_PAUSE: Final = 1.0  # seconds between two attempts while the store is unavailable
_FLUSH: Final = 3.0  # seconds at the end of a process; the next process forwards the rest
_TIDY_EVERY: Final = 0.25  # seconds

StoreAll = Callable[[Sequence[Inbound]], Awaitable[Sequence[bool]]]
"""See `api.Queue.accept_all`."""


class Forwarder:
    """Forwards what the spool holds as long as it runs, if no other process of the machine does.

    Args:
        spool: open.
        store: stores webhooks.
        is_up: returns whether the store is available; what makes it so reports when it is not.
        looked: called with how many webhooks the spool holds, whenever that was looked up.
        observer: called with what was forwarded, when the spool is empty again, and when it can't
            be emptied.
    """

    def __init__(
        self,
        spool: Spool,
        store: StoreAll,
        is_up: Callable[[], bool],
        looked: Callable[[int], None],
        observer: Observer,
    ) -> None:
        self._spool = spool
        self._store = store
        self._is_up = is_up
        self._looked = looked
        self._observer = observer
        self._stopped = asyncio.Event()
        self._pause = _POLL
        self._forwarded = 0
        self._known = 0
        self._tidied = 0.0
        self._reported = ""

    def stop(self) -> None:
        """Let `run` return, after up to three more seconds of forwarding."""
        self._stopped.set()

    async def run(self) -> None:
        """Forward until `stop` is called; wait for the store while it is unavailable."""
        while not self._stopped.is_set():
            if self._spool.is_empty():
                self._report_empty()
                self._pause = _POLL
            else:
                self._pause = await self._advance()
            if self._pause:
                await wait_for_event(self._stopped, self._pause)
        await self._flush()

    async def catch_up(self, patience: float) -> bool:
        """Forward what the spool holds, unless another process does.

        Args:
            patience: seconds, after which what is left is left to others.

        Returns:
            Whether nothing is left.

        Raises:
            StoreUnavailable: the spool can't be read, or the store not be written.
        """
        deadline = time.monotonic() + patience
        while await self._spool.look(1):
            if time.monotonic() >= deadline:
                return False
            if not (self._spool.logs.lead() and await self._forward()):
                await asyncio.sleep(_SHORTEST_PAUSE)
        return True

    async def _advance(self) -> float:
        """Forward a round, if that is for this process to do; return how long to pause."""
        try:
            leads = self._spool.logs.lead()
            more = leads and await self._forward()
            if time.monotonic() >= self._tidied + _TIDY_EVERY:
                await self._spool.tidy()
                self._tidied = time.monotonic()
            if more:
                return 0.0
            left = await self._spool.look(FEW + 1)
        except Exception as error:  # noqa: BLE001 - to give up would be for ever
            if self._is_up():
                self._report(f"the spool can't be emptied: {describe(error)}")
            return min(_LONGEST_PAUSE, max(_POLL, 2 * self._pause))
        self._looked(left)
        if not left:
            return 0.0
        return _SHORTEST_PAUSE if leads or (self._is_up() and left <= FEW) else _POLL

    async def _forward(self) -> bool:
        """Forward a round; return whether more is certain to wait.

        It is removed from the spool once the store has committed it. If the process dies in
        between, it is forwarded twice, and the store takes the second for a repeat.

        Raises:
            StoreUnavailable: it has to be tried again.
        """
        found = await self._spool.read(FEW)
        webhooks = await self._spool.logs.readable(found.arrivals)
        new: list[bool] = []
        for begin in range(0, len(webhooks), FEW):
            some = webhooks[begin : begin + FEW]
            new += await self._spool.logs.store_each(some, self._store_all)
        if webhooks:
            self._forwarded += len(new)
            self._known += len(new) - sum(new)
            waited = max(0, self._spool.clock.now() - webhooks[0][0].received) / NS_OF_S
            self._observer(Sorted(sum(new), len(new) - sum(new), waited))
        if found.positions:
            try:
                await self._spool.forget(found)
            except StoreUnavailable as error:
                self._report(f"what was forwarded can't be removed from the spool: {error}")
        return found.more

    async def _store_all(self, webhooks: Sequence[Readable]) -> Sequence[bool]:
        now = self._spool.clock.now()
        return await self._store(
            [
                inbound._replace(age=max(0, now - arrival.received) / NS_OF_S, spooled=True)
                for arrival, inbound in webhooks
            ]
        )

    def _report(self, text: str) -> None:
        if text != self._reported:
            self._reported = text
            self._observer(Problem(Topic.SPOOL, text))

    def _report_empty(self) -> None:
        if not (self._forwarded or self._reported):
            return
        text = "empty again"
        if self._forwarded:
            known = f", {self._known} of which it had" if self._known else ""
            text += f": {self._forwarded} webhooks were forwarded to the store{known}"
        self._reported, self._forwarded, self._known = "", 0, 0
        self._observer(Problem(Topic.SPOOL, text, resolved=True))

    async def _flush(self) -> None:
        deadline = time.monotonic() + _FLUSH
        while not self._spool.is_empty() and self._spool.logs.lead():
            if time.monotonic() >= deadline or await self._advance() >= _POLL:
                await self._report_left()
                return
        if self._spool.is_empty():
            self._report_empty()

    async def _report_left(self) -> None:
        try:
            left = await self._spool.look(sys.maxsize)
        except StoreUnavailable as error:
            text = f"what is left in the spool can't be counted: {error}"
            self._observer(Problem(Topic.SPOOL, text))
            return
        if left:
            text = f"{left} webhooks are left in it; the next ingress on this disk forwards them"
            self._observer(Problem(Topic.SPOOL, text))


async def catch_up(spool: Path, store: StoreAll, observer: Observer, *, patience: float) -> bool:
    """Have what the spool of this machine holds in the store, so that a command finds it.

    Args:
        spool: its path.
        store: stores webhooks.
        observer: called when something can't be stored.
        patience: seconds, after which what is left is left to an ingress.

    Returns:
        Whether all of it is there.

    Raises:
        StoreUnavailable: a log can't be read, or the store can't be written.
    """
    if not list(logs_of(spool)):
        return True
    opened = Spool(spool, observer)
    await opened.open(writes=False)
    try:
        forwarder = Forwarder(opened, store, lambda: True, lambda _: None, observer)
        return await forwarder.catch_up(patience)
    finally:
        await opened.close()
