"""The worker: claims what is due, runs it, and drains when it is told to stop."""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from offhook.clock import elapsed
from offhook.core.lifecycle import CRASHES_UNTIL_DEAD
from offhook.core.loops import Loop
from offhook.credentials import Credentials
from offhook.drafts import ReturnAddress, notice
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.handlers import Handlers
from offhook.patience import StoreWatch, woken
from offhook.ports import Claim, Claimed, Overdue, SenderLimit, Store
from offhook.settings import Settings
from offhook.validation import Validator
from offhook.verification import Verifier
from offhook.worker.heartbeat import Heartbeat, Pulse
from offhook.worker.run import Run, Tools
from offhook.worker.threads import Threads
from offhook.worker.throttle import Throttle

_SLACK: Final = 5.0
"""Seconds beyond a handler's timeout in which a healthy worker has cancelled and settled it."""


class Worker:
    """Runs handlers on stored messages until it is told to stop.

    Up to `settings.concurrency` at once, one of each lane. Must be made and used on one event loop.

    Args:
        store: open, and of this event loop.
        handlers: the app's.
        settings: `concurrency`, `lease`, `handler_timeout`, `max_attempts`, `loop_limit`,
            `sender_limit`, `sender` and the notices are used.
        observer: is told of every run.
        owner: names this process in the leases.
        open_store: makes another store, not open yet, for the heartbeat's own event loop.
        credentials: verify deferred requests; None for those of the settings.
        sender_limit: counts messages of each sender; None for no limit.
    """

    def __init__(
        self,
        store: Store,
        handlers: Handlers,
        settings: Settings,
        observer: Observer,
        *,
        owner: str,
        open_store: Callable[[], Store],
        credentials: Credentials | None = None,
        sender_limit: SenderLimit | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._observer = observer
        self._owner = owner
        self._open_store = open_store
        self._watch = StoreWatch(observer, "messages are not handled")
        self._threads = Threads()
        verifier = Verifier(
            Validator(settings), credentials or Credentials(settings, None, observer)
        )
        self._tools = Tools(
            store,
            handlers,
            settings,
            observer,
            self._threads,
            self._watch,
            verifier,
            Throttle(settings, observer, sender_limit),
        )
        limit = settings.loop_limit
        self._counted = None if limit is None else Loop(limit[1])
        self._work = store.listen()
        self._running: dict[int, tuple[Run, asyncio.Task[None]]] = {}  # by token
        self._telling: set[asyncio.Task[None]] = set()
        self._stop_at: float | None = None
        self._suspects_at = 0.0
        self._unsure = False  # whether a claim may have been made whose answer was lost
        self._adrift: set[int] = set()  # tokens of runs that have left their messages unsettled

    def stop(self, deadline: float) -> None:
        """Claim nothing more; let handlers end within `deadline` seconds, then interrupt them.

        What is interrupted is handed back at once, and no attempt is counted. A second call may
        shorten the time.
        """
        stop_at = time.monotonic() + deadline
        self._stop_at = stop_at if self._stop_at is None else min(stop_at, self._stop_at)
        self._work.set()

    async def run(self) -> None:
        """Work until `stop` is called and all is settled. A store that is away is waited for.

        Raises:
            StoreBroken: the store does not come back by itself.
        """
        pulse = Pulse(self._observer, self._woken)
        heartbeat = Heartbeat(
            self._open_store,
            pulse,
            tokens=lambda: tuple(self._running),  # one step of the interpreter, on any thread
            renewed=self._renewed,
            lost=self._lose,
            observer=self._observer,
            lease=self._settings.lease,
            stall_limit=self._settings.handler_timeout + _SLACK,
        )
        heartbeat.start()
        try:
            while self._stop_at is None:
                self._work.clear()
                await woken(self._work, await self._look())
                self._watch.end_if_broken()
            await self._drain()
        finally:
            self._abandon()
            pulse.stop()
            await heartbeat.stop()

    async def _look(self) -> float | None:
        """Claim what there is capacity for; return the seconds until it is worth looking again."""
        free = self._settings.concurrency - len(self._running)
        if free <= 0:
            return None  # whichever ends first wakes us
        claimed = await self._claim(free)
        if claimed.suspects and time.monotonic() >= self._suspects_at:
            await self._run_suspect()
            return 0.0
        return None if len(claimed.claims) == free else claimed.next_due

    async def _claim(self, limit: int, *, alone: bool = False) -> Claimed:
        try:
            if self._unsure:
                await self._store.hand_back(self._owner, {*self._running, *self._adrift})
                self._unsure = False
            began = elapsed()
            claimed = await self._store.claim(
                limit,
                lease=self._settings.lease,
                owner=self._owner,
                alone=alone,
                loop=self._counted,
            )
        except StoreUnavailable as error:
            self._unsure = True
            self._watch.away(error)
            self._work.clear()  # nor does what could be written meanwhile make it try at once
            return Claimed()
        self._watch.back()
        if claimed.step:
            self._tell_step(claimed.step)
        until = began + self._settings.lease
        if elapsed() < until:
            for claim in claimed.claims:
                self._start(claim, until)
        else:  # the process stood still meanwhile: others may have them by now
            self._unsure = True
        for message in claimed.buried:
            self._bury(message)
        return claimed

    def _start(self, claim: Claim, until: float) -> None:
        run = Run(claim, self._tools, until=until)
        task = asyncio.create_task(run(), name=f"message {claim.id}")
        self._running[claim.token] = (run, task)
        task.add_done_callback(partial(self._done, claim))

    def _done(self, claim: Claim, task: asyncio.Task[None]) -> None:
        del self._running[claim.token]
        self._work.set()  # there is capacity, and the lane's next message may be due
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A mistake of ours. The lease runs out, and the message is rescued as from a crash. It has
        # been run: it must not be handed back as one that nobody has had.
        self._adrift.add(claim.token)
        text = f"the run of message {claim.id} could not settle it: {type(error).__name__}"
        self._observer(Problem(Topic.RUN_FAILED, text))
        task.get_loop().call_exception_handler({"message": text, "exception": error, "task": task})

    async def _run_suspect(self) -> None:
        """Run the message that may have killed workers with nothing beside it that could die too.

        A handler that keeps it waiting for longer than is healthy is not waited for: suspects
        must not hold up everybody.
        """
        patience = self._settings.handler_timeout + _SLACK
        if not await self._are_idle(self._unless_stopped(patience)):
            self._suspects_at = time.monotonic() + patience
            return
        await self._claim(1, alone=True)
        await self._are_idle(self._unless_stopped(patience))

    def _unless_stopped(self, patience: float) -> Callable[[], float]:
        until = time.monotonic() + patience
        return lambda: until if self._stop_at is None else -math.inf

    async def _are_idle(self, until: Callable[[], float]) -> bool:
        """Wait for all runs to end, no longer than `until()`; return whether they have."""
        while self._running and (left := until() - time.monotonic()) > 0:
            self._work.clear()
            await woken(self._work, left)
        return not self._running

    def _tell_step(self, seconds: float) -> None:
        text = (
            f"the clock was set {'ahead' if seconds > 0 else 'back'} by {abs(seconds):,.0f} s: "
            "order, leases and retries go by elapsed time, and are not affected"
        )
        self._observer(Problem(Topic.CLOCK_STEPPED, text))

    def _bury(self, message: Overdue) -> None:
        text = f"message {message.id} is dead: {CRASHES_UNTIL_DEAD} workers died while running it"
        self._observer(Problem(Topic.BURIED, text))
        task = asyncio.create_task(self._tell_buried(message))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_buried(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("failure", self._settings.failure_notice, address)
        if draft is not None:
            await self._watch.persist(
                lambda: self._store.notify(message.id, draft, settled=True),
            )

    def _renewed(self, tokens: frozenset[int], until: float) -> None:
        for token in tokens:
            if (found := self._running.get(token)) is not None:
                found[0].until = until

    def _woken(self) -> None:
        """Cancel runs whose leases ran out while the process stood still: others may have them.

        Not because the store is away: then no other worker can take them over either.
        """
        now = elapsed()
        for run, _ in self._running.values():
            if run.until <= now:
                run.lapse()

    def _lose(self, tokens: frozenset[int]) -> None:
        for token in tokens & self._running.keys():
            self._running[token][0].lose()

    async def _drain(self) -> None:
        await self._are_idle(lambda: -math.inf if self._stop_at is None else self._stop_at)
        for run, _ in self._running.values():
            run.interrupt()
        until = time.monotonic() + _SLACK
        await self._are_idle(lambda: until)
        if self._telling:
            await asyncio.wait(self._telling, timeout=_SLACK)

    def _abandon(self) -> None:
        """Leave behind what can't be ended; its leases run out."""
        for _, task in self._running.values():
            task.cancel()
        for telling in self._telling:
            telling.cancel()
        self._threads.close()
