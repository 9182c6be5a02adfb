"""Claim work while there is capacity for it, run each claim in a task, and end when stopped."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, Generic, TypeVar

from offhook.clock import elapsed
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.availability import StoreWatch

T = TypeVar("T")
R = TypeVar("R")

POLL: Final = 1.0
"""Seconds after which to look for work although no wake-up came: they may be lost."""

_SHORTEST: Final = 0.01  # seconds; keeps a due time that is in the past from making a busy loop


class ClaimLoop(Generic[T]):
    """Keeps the tasks of the claims that a process has, and knows which claims to hand back.

    Args:
        work: set by the store when there may be something to claim.
        watch: of the store.
        hand_back: hands back this process' claims except those with the tokens given.
        observer: called when a task fails.
        failed: the topic of such a failure.
        consequence: what follows from it, as in "it will be unknown".

    Attributes:
        work: also set by `stop`, and whenever a task ends.
        running: what runs now, by the token of its claim.
        stop_at: the deadline of `stop`, by `time.monotonic`; infinite before it was called.
    """

    def __init__(
        self,
        work: asyncio.Event,
        watch: StoreWatch,
        hand_back: Callable[[Collection[int]], Awaitable[object]],
        observer: Observer,
        *,
        failed: Topic,
        consequence: str,
    ) -> None:
        self.work = work
        self.running: dict[int, T] = {}
        self.stop_at = math.inf
        self._watch = watch
        self._hand_back = hand_back
        self._observer = observer
        self._failed = failed
        self._consequence = consequence
        self._event_loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._claim_in_doubt = False  # whether a claim may have been made whose answer was lost
        self._abandoned_tokens: set[int] = set()  # of claims that were run and not settled

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self.stop_at < math.inf

    def stop(self, deadline: float) -> None:
        """Let `run` return; a second call may shorten the deadline, which is in seconds."""
        self.stop_at = min(time.monotonic() + deadline, self.stop_at)
        self.work.set()

    async def run(self, claim: Callable[[], Awaitable[float | None]]) -> None:
        """Claim whenever there may be something to claim, until `stop` is called.

        Args:
            claim: claims and starts what it can; returns the seconds until more is due.

        Raises:
            StoreBroken: the store does not come back by itself.
        """
        while not self.stopping:
            self.work.clear()
            await self.wait(await claim())
            self._watch.end_if_broken()

    async def claim(self, call: Callable[[], Awaitable[R]]) -> tuple[R, float] | None:
        """Call the store to claim, after claims in doubt have been handed back.

        Returns:
            Its answer, and when the call began, by `elapsed`; None when the store is unavailable.
        """
        try:
            if self._claim_in_doubt:
                await self._hand_back({*self.running, *self._abandoned_tokens})
                self._claim_in_doubt = False
            began = elapsed()
            claimed = await call()
        except StoreUnavailable as error:
            self._claim_in_doubt = True
            self._watch.away(error)
            self.work.clear()  # nor does what could be written meanwhile make it try at once
            return None
        self._watch.back()
        return claimed, began

    def doubt(self) -> None:
        """Hand back, before the next claim, the claims that were not started."""
        self._claim_in_doubt = True

    def start(self, token: int, item: T, task: Coroutine[Any, Any, None], name: str) -> None:
        """Run a claim in a task; its name is used in the report if it fails."""
        self.running[token] = item
        started = self._tasks[token] = self._event_loop.create_task(task, name=name)
        started.add_done_callback(partial(self._done, token))

    async def wait(self, due: float | None = None) -> None:
        """Wait until there may be something to do, or `due` seconds are over."""
        await wait_for_event(self.work, POLL if due is None else max(_SHORTEST, min(POLL, due)))

    async def wait_idle(self, until: Callable[[], float]) -> bool:
        """Wait for all tasks to end, no longer than `until()`; return whether they have."""
        while self.running and (left := until() - time.monotonic()) > 0:
            self.work.clear()
            await self.wait(left)
        return not self.running

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in self._tasks.values():
            task.cancel()

    def _done(self, token: int, task: asyncio.Task[None]) -> None:
        del self.running[token], self._tasks[token]
        self.work.set()  # there is capacity, and the next of its lane may be due
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A mistake of ours. It has been run, or may have been sent: its claim must not be handed
        # back as one that was never started, so its lease runs out.
        self._abandoned_tokens.add(token)
        text = f"{task.get_name()} could not be settled: {self._consequence}"
        self._observer(Problem(self._failed, f"{text} ({type(error).__name__})"))
        task.get_loop().call_exception_handler({"message": text, "exception": error, "task": task})
