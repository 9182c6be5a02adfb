"""The store for what may be called on any event loop: a worker's, or one that is opened for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from offhook.concurrency import wait_for_event
from offhook.stores.api import Store

T = TypeVar("T")

IDLE: Final = 5.0
"""Seconds after which a store that nobody uses is closed; to open one takes some milliseconds."""


class StoreOnDemand:
    """Finds, for the running event loop, a store that is open; opens one if there is none.

    What it has opened is closed when it has been idle, or when its event loop ends: asyncio cancels
    all tasks then, and waits for them.

    Args:
        make: returns a store that is not open yet.
    """

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._lent: dict[asyncio.AbstractEventLoop, Store] = {}
        self._kept: dict[asyncio.AbstractEventLoop, _Kept] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """An event loop whose store may be used from other threads."""
        return next(iter(self._lent), None)

    @contextmanager
    def lend(self, store: Store) -> Iterator[None]:
        """Use within the context a store that is open, and of the running event loop."""
        loop = asyncio.get_running_loop()
        self._lent[loop] = store
        try:
            yield
        finally:
            del self._lent[loop]

    async def call(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Do some work with the store of the running event loop.

        Raises:
            StoreError: it can't be opened, or the work fails.
        """
        loop = asyncio.get_running_loop()
        if (lent := self._lent.get(loop)) is not None:
            return await work(lent)
        if loop not in self._kept:
            self._kept[loop] = _Kept(self._make(), lambda: self._kept.pop(loop))
        return await self._kept[loop].call(work)


class _Kept:
    """A store that was opened on demand.

    Args:
        store: not open yet.
        ended: called when it can be used no longer.
    """

    def __init__(self, store: Store, ended: Callable[[], object]) -> None:
        self._store = store
        self._ended = ended
        self._users = 0
        self._used = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(), name="offhook store on demand")

    async def call(self, work: Callable[[Store], Awaitable[T]]) -> T:
        self._users += 1
        try:
            await asyncio.shield(self._opened)
            return await work(self._store)
        finally:
            self._users -= 1
            self._used.set()

    async def _keep(self) -> None:
        try:
            await self._store.open()
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            self._ended()
            self._opened.set_exception(error)
            self._opened.exception()  # nobody may be waiting any more
            return
        except BaseException:
            self._ended()
            self._opened.cancel()
            raise
        self._opened.set_result(None)
        try:
            while await wait_for_event(self._used, IDLE) or self._users:
                self._used.clear()
        finally:
            self._ended()
            await self._store.close()
