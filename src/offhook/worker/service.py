"""The worker: claim due messages, run them, and drain when it is stopped."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from offhook.clock import elapsed
from offhook.core.lifecycle import CRASHES_UNTIL_DEAD
from offhook.core.loop_detection import LoopRule
from offhook.events import Observer, Problem, Topic
from offhook.ingress.credentials import Credentials
from offhook.ingress.validation import Validator
from offhook.ports import SenderLimit
from offhook.settings import Settings
from offhook.stores.api import Claimed, Overdue, Store
from offhook.stores.availability import StoreWatch
from offhook.worker.claim_loop import ClaimLoop
from offhook.worker.drafts import ReturnAddress, notice
from offhook.worker.executor import ThreadExecutor
from offhook.worker.handlers import Handlers
from offhook.worker.heartbeat import Heartbeat, LoopMonitor
from offhook.worker.media import Files
from offhook.worker.run import Run, Tools
from offhook.worker.throttle import Throttle
from offhook.worker.typing import Indicator

_SLACK: Final = 5.0
"""Seconds beyond a handler's timeout within which a healthy worker has settled its message."""


class Worker:
    """Runs handlers on stored messages until it is stopped.

    Up to `settings.concurrency` at once, one of each lane. Made and used on one event loop.

    Args:
        store: open, and of this event loop.
        handlers: the app's.
        settings: `concurrency`, `lease`, `handler_timeout`, `max_attempts`, `loop_limit`,
            `sender_limit`, `sender` and the notices are used.
        observer: called with every run.
        owner: names this process in the leases.
        open_store: makes another store, not open yet, for the heartbeat's own event loop.
        credentials: verify deferred requests; None for those of the settings.
        sender_limit: counts messages of each sender; None for no limit.
        typing: shows typing indicators; None for none.
        files: keeps the messages' files; None where there is no Twilio.
        on_ready: called once, after the first claim, also if there was nothing to claim.
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
        typing: Indicator | None = None,
        files: Files | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._observer = observer
        self._owner = owner
        self._open_store = open_store
        self._watch = StoreWatch(observer, "messages are not handled")
        self._threads = ThreadExecutor()
        validator = Validator(settings, credentials or Credentials(settings, None, observer))
        self._tools = Tools(
            asyncio.get_running_loop(),
            store,
            handlers,
            settings,
            settings.opt_outs,
            observer,
            self._threads,
            self._watch,
            validator,
            Throttle(settings, observer, sender_limit),
            typing,
            files,
        )
        limit = settings.loop_limit
        self._counted = None if limit is None else LoopRule(limit[1])
        self._loop: ClaimLoop[Run] = ClaimLoop(
            store.listen(),
            self._watch,
            lambda tokens: store.hand_back(owner, tokens),
            observer,
            failed=Topic.RUN_FAILED,
            consequence="it will be rescued as from a crash",
        )
        self._notifying: set[asyncio.Task[None]] = set()
        self._suspects_at = 0.0
        self._on_ready = on_ready
        self._ready = False

    def stop(self, deadline: float) -> None:
        """Claim nothing more; let handlers end within `deadline` seconds, then interrupt them.

        What is interrupted is handed back at once, and no attempt is counted. A second call may
        shorten the time.
        """
        self._loop.stop(deadline)

    async def run(self) -> None:
        """Work until `stop` is called and all is settled; wait for a store that is unavailable.

        Raises:
            StoreBroken: the store does not come back by itself.
        """
        loop_monitor = LoopMonitor(self._observer, self._resumed)
        heartbeat = Heartbeat(
            self._open_store,
            loop_monitor,
            tokens=lambda: tuple(self._loop.running),  # one step of the interpreter, on any thread
            renewed=self._renewed,
            lost=self._lose,
            observer=self._observer,
            lease=self._settings.lease,
            stall_limit=self._settings.handler_timeout + _SLACK,
        )
        heartbeat.start()
        try:
            await self._loop.run(self._look)
            await self._drain()
        finally:
            self._abandon()
            loop_monitor.stop()
            await heartbeat.stop()

    async def _look(self) -> float | None:
        """Claim what there is capacity for; return the seconds until it is worth looking again."""
        free = self._settings.concurrency - len(self._loop.running)
        if free <= 0:
            return None  # the first run that ends sets `work`
        claimed = await self._claim(free)
        if claimed.suspects and time.monotonic() >= self._suspects_at:
            await self._run_suspect()
            return 0.0
        return None if len(claimed.claims) == free else claimed.next_due

    async def _claim(self, limit: int, *, alone: bool = False) -> Claimed:
        """Claim up to `limit` messages and start their runs; report what else the store says."""
        answer = await self._loop.claim(
            lambda: self._store.claim(
                limit,
                lease=self._settings.lease,
                owner=self._owner,
                alone=alone,
                loop=self._counted,
            )
        )
        if answer is None:
            return Claimed()
        if not self._ready:
            self._ready = True
            self._on_ready()
        claimed, began = answer
        if claimed.step:
            self._report_step(claimed.step)
        until = began + self._settings.lease
        if elapsed() < until:
            for one in claimed.claims:
                run = Run(one, self._tools, until=until)
                self._loop.start(one.token, run, run(), f"message {one.id}")
        else:  # the process was stopped meanwhile: other workers may have them by now
            self._loop.doubt()
        for message in claimed.buried:
            self._report_dead(message)
        return claimed

    async def _run_suspect(self) -> None:
        """Run alone a message that may have killed workers: no other run dies with this worker.

        A run that takes longer than is healthy is not waited for: the suspect must not delay all
        other messages.
        """
        longest = self._settings.handler_timeout + _SLACK
        if not await self._loop.wait_idle(self._unless_stopped(longest)):
            self._suspects_at = time.monotonic() + longest
            return
        await self._claim(1, alone=True)
        await self._loop.wait_idle(self._unless_stopped(longest))

    def _unless_stopped(self, seconds: float) -> Callable[[], float]:
        until = time.monotonic() + seconds
        return lambda: -math.inf if self._loop.stopping else until

    def _report_step(self, seconds: float) -> None:
        text = (
            f"the clock was set {'ahead' if seconds > 0 else 'back'} by {abs(seconds):,.0f} s: "
            "order, leases and retries go by elapsed time, and are not affected"
        )
        self._observer(Problem(Topic.CLOCK_STEPPED, text))

    def _report_dead(self, message: Overdue) -> None:
        text = f"message {message.id} is dead: {CRASHES_UNTIL_DEAD} workers died while running it"
        self._observer(Problem(Topic.BURIED, text))
        task = asyncio.create_task(self._notify_of_failure(message))
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def _notify_of_failure(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("failure", self._settings.failure_notice, address)
        if draft is not None:
            await self._watch.persist(
                lambda: self._store.notify(message.id, draft, settled=True),
            )

    def _renewed(self, tokens: frozenset[int], until: float) -> None:
        for token in tokens:
            if (run := self._loop.running.get(token)) is not None:
                run.until = until

    def _resumed(self) -> None:
        """Cancel runs whose leases ran out while the loop was blocked: others may have them.

        Not while the store is unavailable: then no other worker can claim them either.
        """
        now = elapsed()
        for run in self._loop.running.values():
            if run.until <= now:
                run.lapse()

    def _lose(self, tokens: frozenset[int]) -> None:
        for token in tokens & self._loop.running.keys():
            self._loop.running[token].lose()

    async def _drain(self) -> None:
        await self._loop.wait_idle(lambda: self._loop.stop_at)
        for run in self._loop.running.values():
            run.interrupt()
        until = time.monotonic() + _SLACK
        await self._loop.wait_idle(lambda: until)
        if self._notifying:
            await asyncio.wait(self._notifying, timeout=_SLACK)

    def _abandon(self) -> None:
        """Cancel what has not ended in time; its leases run out."""
        self._loop.cancel()
        for task in self._notifying:
            task.cancel()
        self._threads.close()
