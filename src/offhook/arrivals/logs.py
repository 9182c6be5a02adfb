"""The arrivals logs of a machine, as they are seen by what moves on what they hold."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from offhook.arrivals.file import LogFile, Slot, Waiting, is_unreadable, logs_of
from offhook.arrivals.reader import LogReader, Round
from offhook.arrivals.record import Arrival
from offhook.arrivals.waiting import unavailable
from offhook.core.inbound import Inbound
from offhook.errors import SchemaTooNew, StoreError, StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.sqlite.files import beside

P = ParamSpec("P")
T = TypeVar("T")

Readable = tuple[Arrival, Inbound]
"""An arrival, and what it says of itself."""

_TEND_EVERY: Final = 10.0  # seconds


class Logs:
    """Reads the logs beside a path; sets aside what can't be stored; looks after those of the dead.

    Its methods raise `StoreUnavailable` where a log can't be read or written at present. For one
    event loop.

    Args:
        home: the path: of a store's file, or of a spool.
        clock: as of `LogReader`.
        observer: called when something can't be read or stored; in part on a thread.
        role: of the process that leads, in the name of its lock.
    """

    def __init__(
        self, home: Path, clock: Callable[[], int], observer: Observer, *, role: str
    ) -> None:
        self._home = home
        self._observer = observer
        self._role = role
        self._reader = LogReader(home, clock, self._report_unreadable)
        # Of its own: handlers may keep all threads of the event loop's executor busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"offhook-{role}")
        self._lead: Slot | None = None
        self._next_tending = 0.0
        self._reported: set[Path] = set()
        self._closed = False

    @property
    def leading(self) -> bool:
        """Whether this process is the one that moves on what the logs hold."""
        return self._lead is not None

    def lead(self) -> bool:
        """Return whether this process leads; it does from now on if no other does.

        It stays so until it closes or dies, however it dies.
        """
        if self._lead is None:
            with suppress(OSError):  # a full disk, say: there will be another time
                self._lead = Slot.try_take(beside(self._home, f"-{self._role}"), self._home)
        return self._lead is not None

    async def read(self, positions: Mapping[bytes, int], limit: int) -> Round:
        """See `LogReader.read`."""
        return await self.do(self._reader.read, positions, limit)

    async def waiting(self, positions: Mapping[bytes, int], at_most: int | None = None) -> Waiting:
        """See `LogReader.waiting`."""
        return await self.do(self._reader.waiting, positions, at_most)

    async def ends(self) -> Mapping[bytes, int]:
        """See `LogReader.ends`."""
        return await self.do(self._reader.ends)

    async def trim(self, positions: Mapping[bytes, int]) -> None:
        """See `LogReader.trim`."""
        await self.do(self._reader.trim, positions)

    async def readable(self, arrivals: Sequence[Arrival]) -> list[Readable]:
        """Read what each says of itself; set aside those that can't be read."""
        found = []
        for arrival in arrivals:
            try:
                found.append((arrival, Inbound.of(arrival.webhook)))
            except ValueError as error:
                await self._set_aside(arrival, "a webhook", str(error))
        return found

    async def store_each(
        self,
        webhooks: Sequence[Readable],
        store: Callable[[Sequence[Readable]], Awaitable[Sequence[bool]]],
    ) -> list[bool]:
        """Store webhooks, in few parts; set aside those that are refused even alone.

        Args:
            webhooks: in order.
            store: stores all that it is given, or nothing. Returns for each whether it was new.

        Returns:
            For each that was not set aside whether it was new.

        Raises:
            StoreUnavailable: some may have been stored.
        """
        if not webhooks:
            return []
        try:
            return [*await store(webhooks)]
        except StoreUnavailable:
            raise
        except StoreError as error:  # about one of them, which is found by halves
            if len(webhooks) == 1:
                ((arrival, inbound),) = webhooks
                await self._set_aside(arrival, ascii(inbound.sid), str(error))
                return []
        half = len(webhooks) // 2
        first = await self.store_each(webhooks[:half], store)
        return [*first, *await self.store_each(webhooks[half:], store)]

    async def tend(self, positions: Mapping[bytes, int]) -> None:
        """Trim the logs whose processes have ended, and put aside what can't be read of them."""
        if time.monotonic() < self._next_tending:
            return
        self._next_tending = time.monotonic() + _TEND_EVERY
        with suppress(StoreUnavailable):  # there will be another time
            for path in await self.do(lambda: list(logs_of(self._home))):
                await self.do(self._tend_one, path, positions)

    async def close(self) -> None:
        """Close the logs, and leave the lead to others. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.do(self._reader.close)
        finally:
            self._thread.shutdown(wait=False)
            if self._lead is not None:
                self._lead.release()
                self._lead = None

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the logs, on their thread.

        Raises:
            StoreUnavailable: it can't be done at present.
        """
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
        except (OSError, sqlite3.Error) as error:
            raise unavailable(self._home, error) from error

    async def _set_aside(self, arrival: Arrival, name: str, reason: str) -> None:
        path = await self.do(self._reader.set_aside, [arrival], reason)
        self._observer(Problem(Topic.ARRIVALS, f"{name} was set aside in {path}: {reason}"))

    def _tend_one(self, path: Path, positions: Mapping[bytes, int]) -> None:
        slot = Slot.try_take(path, self._home)
        if slot is None:  # its process trims it
            return
        try:
            with closing(slot.open()) as file:
                self._trim(slot, file, positions.get(file.name, 0))
        except SchemaTooNew:  # a process of that version trims it; the reader has reported it
            return
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise
            self._observer(slot.put_aside(error))
        finally:
            slot.release()

    def _trim(self, slot: Slot, file: LogFile, position: int) -> None:
        try:
            file.tidy(position)
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise
            other = Slot.take(self._home)
            try:
                with closing(other.open()) as to:
                    self._observer(slot.move(file, to, error))
            finally:
                other.release()

    def _report_unreadable(self, path: Path, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            self._observer(Problem(Topic.ARRIVALS, f"{path} can't be read: {error}"))
