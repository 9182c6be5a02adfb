"""Carry out what a handler asks of its message, on the worker's loop and while the run lasts."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Final, TypeVar

from offhook.core.calls import Call
from offhook.core.reasons import Cause
from offhook.errors import LeaseLost, NotAwaited, NotRunning
from offhook.events import Observer, Problem, Topic

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]

_LINES: Final = 3  # that an error names
_GONE: Final = "the worker of this run has ended: nothing was done"


class HandlerCalls:
    """The calls of one run's handler.

    May be used on any thread: a `def` handler's, and threads that it starts.

    Args:
        message_id: of the message, for the report.
        observer: called with calls that were never awaited.
    """

    def __init__(self, message_id: int, observer: Observer) -> None:
        self._message_id = message_id
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._calls: list[Call[Any]] = []
        self._running = 0
        self._stopped = asyncio.Event()
        self._ended: LeaseLost | NotRunning | None = None

    def end(self, reason: LeaseLost | NotRunning) -> None:
        """Refuse all further calls: the run is over, although its code may still run."""
        self._ended = self._ended or reason

    async def finish(self) -> None:
        """Wait for the calls that are being carried out, after the handler has returned.

        Raises:
            NotAwaited: naming the lines of calls that were never awaited.
        """
        if not all(call.begun for call in self._calls):
            await asyncio.sleep(0)  # those wrapped in tasks begin now
        while self._running:
            self._stopped.clear()
            await self._stopped.wait()
        lines = tuple(dict.fromkeys(call.where for call in self._calls if not call.begun))
        if lines:
            error = NotAwaited(*lines[:_LINES])
            text = f"message {self._message_id}: {Cause.NOT_AWAITED(error.where)}"
            self._observer(Problem(Topic.REPLY_NOT_AWAITED, text))
            raise error

    def begin(self, work: Work[T], what: str, where: str) -> Call[T]:
        """Return a call that does the work when awaited; in a thread without a loop, do it at once.

        Args:
            work: makes the coroutine; it is run on the worker's loop.
            what: the call as people write it, for errors.
            where: the caller's file and line, for errors.

        Raises:
            LeaseLost: another run has the message now.
            NotRunning: this run is over.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return Call.done(self._wait(self._from_thread(work)), what, where)
        call = Call(partial(self._awaited, work), what, where)
        self._calls.append(call)
        return call

    def soon(self, callback: Callable[[], None]) -> None:
        """Call a function on the worker's loop; never, if that has been closed."""
        if self._ended is None:
            try:
                self._loop.call_soon_threadsafe(callback)
            except RuntimeError:  # closed
                return

    async def _awaited(self, work: Work[T]) -> T:
        if asyncio.get_running_loop() is self._loop:
            return await self._carry_out(work)
        return await asyncio.wrap_future(self._from_thread(work))

    def _from_thread(self, work: Work[T]) -> Future[T]:
        running = self._carry_out(work)
        try:
            return asyncio.run_coroutine_threadsafe(running, self._loop)
        except RuntimeError:  # the loop is closed
            running.close()
            raise NotRunning(_GONE) from None

    def _wait(self, running: Future[T]) -> T:
        try:
            return running.result()
        except CancelledError:  # the loop is ending
            raise NotRunning(_GONE) from None

    async def _carry_out(self, work: Work[T]) -> T:
        self._running += 1
        try:
            if self._ended is not None:
                raise type(self._ended)(*self._ended.args)
            return await work()
        finally:
            self._running -= 1
            self._stopped.set()
