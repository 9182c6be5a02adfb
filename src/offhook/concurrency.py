"""Waiting with a bound: for an event, for the first of several tasks, for many short calls."""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from offhook.core.calls import Call

F = TypeVar("F", bound="asyncio.Future[Any]")
T = TypeVar("T")


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, no longer than `seconds`; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def wait_first(*futures: F, within: float | None = None) -> Collection[F]:
    """Wait until one of the futures is done, no longer than `within`; return those that are."""
    done, _ = await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    return done


async def done_before(event: asyncio.Event, *tasks: "asyncio.Task[Any]") -> bool:
    """Wait until the event is set or one of the tasks is done; return whether one is done."""
    waiting = asyncio.create_task(event.wait())
    try:
        await wait_first(waiting, *tasks)
    finally:
        waiting.cancel()
    return any(task.done() for task in tasks)


async def cancel_and_wait(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and wait until they have ended."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


class Deadline:
    """Bounds what each of many tasks does within `with`, like `asyncio.timeout`, for less.

    All waits are equally long, so the first to begin is the first to end, and one timer at a time
    is enough for all. `asyncio.timeout` starts and cancels one each: 3.4 us, twice a request,
    of the 30 us between a request and its storing; this takes 1.1 us.

    A task may not enter the same deadline twice. For one event loop at a time. Where there is no
    task, `watch` and `expired` do the same for a future.

    Args:
        seconds: until the task is cancelled; leaving `with` then raises `TimeoutError`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer_runs = False
        # Both in the order of entering. What has expired: with the cancellations that the task had
        # been asked for before ours.
        self._due: dict[asyncio.Future[Any], float] = {}
        self._expired: dict[asyncio.Future[Any], int] = {}

    def __enter__(self) -> None:
        # Asked of a loop that is known, the task is found without a system call (CPython 3.11
        # makes sure with getpid that it has not been forked).
        loop = self._loop
        task = None if loop is None else asyncio.current_task(loop)
        if loop is None or task is None:
            task = _current_task()
            loop = task.get_loop()
        due = loop.time() + self._seconds
        self._due[task] = due
        if not self._timer_runs or loop is not self._loop:
            self._start(loop, due)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task(self._loop) or _current_task()
        if self._due.pop(task, None) is not None:
            return
        before = self._expired.pop(task)
        # If the task was also cancelled from elsewhere, it gets that cancellation
        # (https://docs.python.org/3/library/asyncio-task.html#asyncio.Task.uncancel).
        if task.uncancel() <= before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def watch(self, future: "asyncio.Future[Any]") -> None:
        """Cancel a future that is not done in time. Once it is done, `expired` has to be called."""
        loop = future.get_loop()
        due = loop.time() + self._seconds
        self._due[future] = due
        if not self._timer_runs or loop is not self._loop:
            self._start(loop, due)

    def expired(self, future: "asyncio.Future[Any]") -> bool:
        """Let go of a future that was watched; return whether it was too late."""
        if self._due.pop(future, None) is not None:
            return False
        del self._expired[future]
        return True

    def _start(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._loop, self._timer_runs = loop, True
        loop.call_at(due, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer_runs = False
        now = loop.time()
        while self._due:
            waiting, due = next(iter(self._due.items()))
            if due > now:
                self._start(loop, due)
                return
            del self._due[waiting]
            self._expired[waiting] = (
                waiting.cancelling() if isinstance(waiting, asyncio.Task) else 0
            )
            waiting.cancel()


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a deadline is for the code of a task")
    return task


def called(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None, what: str, where: str
) -> Call[T]:
    """Return a call of an async function, done already if no event loop runs in this thread.

    Args:
        coroutine: what it does. Python warns of one that is never awaited.
        loop: of another thread, on which to run it; None to run it on one of its own.
        what: the call as people write it, for errors.
        where: the caller's file and line, for errors.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if loop is None:
            return Call.done(asyncio.run(coroutine), what, where)
        return Call.done(asyncio.run_coroutine_threadsafe(coroutine, loop).result(), what, where)
    return Call(lambda: coroutine, what, where)
