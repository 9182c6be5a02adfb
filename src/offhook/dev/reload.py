"""Restart a process whenever the bot's files change."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from enum import Enum, auto
from pathlib import Path
from typing import Final

from watchfiles import PythonFilter, awatch

from offhook.process.child import Child, LifelineEvent

_PATIENCE: Final = 5.0  # seconds from SIGTERM to SIGKILL
_LOOK: Final = 0.02  # seconds between two polls for the exit status
_GATHER: Final = 100  # ms; an editor writes a file in several steps


class ReloadEvent(Enum):
    """What the reloader reports."""

    READY = auto()
    CHANGED = auto()
    BROKEN = auto()  # it exited by itself; the next change starts it again


class Reloader:
    """Run one process, and replace it on each change of a Python file or `.env`.

    Args:
        start: starts the process.
        directory: the directory to watch, recursively.
        tell: called with each event.
        stand_in: entered while there is no process because it exited by itself.
    """

    def __init__(
        self,
        start: Callable[[], Child],
        directory: Path,
        tell: Callable[[ReloadEvent], None],
        stand_in: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> None:
        self._start = start
        self._stand_in = stand_in
        self._directory = directory
        self._tell = tell
        self._was_ready = False
        self._happened = asyncio.Event()
        self._changed = False
        self._ended = False
        self._stopped = False

    def stop(self) -> None:
        """End the process, and `run`."""
        self._stopped = True
        self._happened.set()

    async def run(self) -> bool:
        """Run until `stop`. Return False when the process ended without ever being ready."""
        watching = asyncio.create_task(self._watch())
        try:
            while not self._stopped:
                await self._live()
                if not self._was_ready:
                    return self._stopped
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        return True

    async def _live(self) -> None:
        """Run one process until a change, its exit or `stop`."""
        self._changed = self._ended = False
        child = self._start()
        child.watch(self._hear)
        try:
            await self._until(lambda: self._stopped or self._changed or self._ended)
            if self._ended and self._was_ready and not (self._stopped or self._changed):
                self._tell(ReloadEvent.BROKEN)
                async with self._stand_in():
                    await self._until(lambda: self._stopped or self._changed)
        finally:
            await _end(child)
        if self._changed:
            self._tell(ReloadEvent.CHANGED)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._happened.clear()
            await self._happened.wait()

    def _hear(self, event: LifelineEvent) -> None:
        match event:
            case LifelineEvent.READY:
                self._was_ready = True
                self._tell(ReloadEvent.READY)
            case LifelineEvent.CLOSED:
                self._ended = True
                self._happened.set()

    async def _watch(self) -> None:
        wanted = PythonFilter(extra_extensions=(".env",))
        async for _ in awatch(self._directory, watch_filter=wanted, debounce=_GATHER):
            self._changed = True
            self._happened.set()


async def _end(child: Child) -> None:
    deadline = time.monotonic() + _PATIENCE
    child.terminate()
    while child.poll() is None:
        if time.monotonic() > deadline:
            child.kill()
        await asyncio.sleep(_LOOK)
    child.close()
