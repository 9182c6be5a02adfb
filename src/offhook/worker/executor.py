"""Run `def` handlers in threads."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[], Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def run(self) -> None:
        value, error = None, None
        try:
            value = self.context.run(self.call)
        except BaseException as caught:  # noqa: BLE001 - raised where `run` is awaited
            error = caught
        with suppress(RuntimeError):  # the loop is closed, and nothing waits for the result
            self.loop.call_soon_threadsafe(self._finish, value, error)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        match error:
            case None:
                self.future.set_result(value)
            case StopIteration():  # a future refuses it
                self.future.set_exception(RuntimeError("the handler raised StopIteration"))
            case _:
                self.future.set_exception(error)


class ThreadExecutor:
    """Runs functions in threads that are started on demand and reused, with their locals.

    `concurrent.futures` won't do: the interpreter waits for its threads at exit, so one handler
    that hangs would keep the process from ending. The caller bounds the number of threads by its
    concurrent calls.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._pending: set[asyncio.Future[Any]] = set()

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run a function in a thread, with a copy of the context; return its result.

        A thread can't be stopped: when this is cancelled, it still returns (by raising
        `CancelledError`) only after the function has ended, or after `close`; cancelled once more,
        at once.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        self._submit(_Job(call, contextvars.copy_context(), loop, future))
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            future.add_done_callback(_retrieve)
            await asyncio.wait({future})
            raise
        return future.result()

    def close(self) -> None:
        """Cancel all waiting calls. A thread that still runs a function ends after it."""
        for future in tuple(self._pending):
            future.cancel()
        for _ in range(self._started):
            self._jobs.put(None)

    def _submit(self, job: _Job) -> None:
        if not self._idle.acquire(blocking=False):
            self._started += 1
            name = f"offhook-handler-{self._started}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._jobs.put(job)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # it would keep the message in memory until the next job
            self._idle.release()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Have asyncio not log that an error was never retrieved."""
    if not future.cancelled():
        future.exception()
