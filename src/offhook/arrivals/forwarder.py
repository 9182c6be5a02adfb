"""Forward webhooks from the spool to the store, in order."""

import asyncio
import time
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from offhook.arrivals.breaker import Breaker, describe
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.api import Spool, Spooled

_POLL: Final = 0.25  # seconds between looks at an empty spool; each is one system call
_LONGEST_PAUSE: Final = 1.0  # seconds between two attempts while the store is unavailable
_BATCH: Final = 500  # webhooks read, forwarded and deleted at once
# Seconds until a webhook that the store refuses is tried again; only its lane waits for it.
_REST: Final = 30.0
_FLUSH: Final = 3.0  # seconds at the end of a process; the next process forwards the rest
_TIDY_EVERY: Final = 1.0


class Forwarder:
    """Forwards the webhooks of the spool, one at a time in each lane.

    One of the processes that share a spool forwards. A webhook is deleted from the spool once the
    store has committed it; if the process dies in between, it is forwarded twice, and the store
    takes the second for a repeat.

    Args:
        spool: open.
        breaker: the store.
        observer: called when the spool is empty again, and when it cannot be emptied.
    """

    def __init__(self, spool: Spool, breaker: Breaker, observer: Observer) -> None:
        self._spool = spool
        self._breaker = breaker
        self._observer = observer
        self._stopped = asyncio.Event()
        self._resting: dict[str, float] = {}
        self._forwarded = 0
        self._known = 0
        self._tidied = 0.0
        self._reported = ""

    def stop(self) -> None:
        """Let `run` return, after up to three more seconds of forwarding."""
        self._stopped.set()

    async def run(self) -> None:
        """Forward until `stop` is called; wait for the store while it is unavailable."""
        pause = _POLL
        while not self._stopped.is_set():
            if self._spool.is_empty():
                self._report_empty()
                pause = _POLL
            elif not self._spool.lead():
                pause = _POLL
            elif await self._advance():
                pause = 0.0
            else:
                pause = min(_LONGEST_PAUSE, max(_POLL, 2 * pause))
            if pause:
                await wait_for_event(self._stopped, pause)
        await self._flush()

    async def _advance(self) -> bool:
        """Forward a batch; return whether to go on at once."""
        try:
            self._wake_rested()
            batch = await self._spool.oldest(_BATCH, without=self._resting)
            forwarded = await self._forward(batch)
            if forwarded:
                await self._spool.forget(forwarded)
            await self._tidy()
        except Exception as error:  # noqa: BLE001 - to give up would be for ever
            self._report(f"the spool can't be emptied: {describe(error)}")
            return False
        return bool(forwarded)

    async def _forward(self, batch: Sequence[Spooled]) -> list[int]:
        """Forward the lanes concurrently; return the webhooks that the store has now."""
        lane = attrgetter("inbound.lane")
        lanes = [list(items) for _, items in groupby(sorted(batch, key=lane), lane)]
        done = await asyncio.gather(*(self._forward_lane(items) for items in lanes))
        return [id_ for ids in done for id_ in ids]

    async def _forward_lane(self, items: Sequence[Spooled]) -> list[int]:
        done: list[int] = []
        for one in items:
            try:
                new = await self._breaker.forward(one.inbound)
            except StoreUnavailable:
                break
            except Exception as error:  # noqa: BLE001 - the other lanes, and this process, go on
                self._rest(one, error)
                break
            done.append(one.id)
            self._forwarded += 1
            self._known += not new
        return done

    def _rest(self, one: Spooled, error: Exception) -> None:
        self._resting[one.inbound.lane] = time.monotonic() + _REST
        self._report(
            f"the store does not take webhook {one.id} of the spool: {describe(error)}. "
            f"It is tried again every {_REST:g} s, and its conversation waits"
        )

    def _wake_rested(self) -> None:
        now = time.monotonic()
        self._resting = {lane: until for lane, until in self._resting.items() if until > now}

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied >= _TIDY_EVERY:
            self._tidied = time.monotonic()
            await self._spool.tidy()

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
        while not self._spool.is_empty() and self._spool.lead():
            if time.monotonic() >= deadline or not await self._advance():
                await self._report_left()
                return
        if self._spool.is_empty():
            self._report_empty()

    async def _report_left(self) -> None:
        try:
            left = await self._spool.count()
        except StoreUnavailable as error:
            self._observer(
                Problem(Topic.SPOOL, f"what is left in the spool can't be counted: {error}")
            )
            return
        if left:
            text = f"{left} webhooks are left in it; the next ingress on this disk forwards them"
            self._observer(Problem(Topic.SPOOL, text))
