"""Threads for `def` handlers."""

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
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the caller's
            error = caught
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
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


class Threads:
    """Threads that are started when needed and used again, so that their locals last.

    Not those of `concurrent.futures`: the interpreter waits for them when it exits, so that one
    handler that hangs would keep the process from ending. The caller bounds their number by the
    calls it makes at once.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._pending: set[asyncio.Future[Any]] = set()

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run a function in a thread, with a copy of the context; return or raise what it does.

        A thread can't be stopped: when this is cancelled, it still returns (by raising
        `CancelledError`) only after the function has ended, or after `close`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        self._submit(_Job(call, contextvars.copy_context(), loop, future))
        cancelled = False
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            if not future.cancelled():
                future.exception()  # looked at, or asyncio would complain that nobody did
            raise asyncio.CancelledError
        return future.result()

    def close(self) -> None:
        """Wait for no function any longer. Threads that still run one end with it."""
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
            del job  # with it would stay the message, until the next one comes
            self._idle.release()
