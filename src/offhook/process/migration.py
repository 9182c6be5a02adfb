"""The store's schema, brought up to date before the processes that need it so, or beside them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from offhook.concurrency import cancel_and_wait
from offhook.errors import StoreError, StoreUnavailable
from offhook.stores.api import Store
from offhook.stores.availability import MOMENT, open_reporting

_log = logging.getLogger("offhook")

_START_TIMEOUT: Final = MOMENT  # seconds that the start waits for a store it can do without


class BackgroundMigration:
    """One opening of the store, which goes on for as long as it takes.

    Args:
        open_store: makes a store that is not open yet.
        needed: whether nothing can start before it is there.

    Attributes:
        succeeded: whether it has been open.
    """

    def __init__(self, open_store: Callable[[], Store], *, needed: bool) -> None:
        self._store = open_store()
        self._needed = needed
        self.succeeded = False
        self._left = False
        self._reported = ""
        self._task = asyncio.create_task(self._prepare(), name="preparation of the store")

    async def wait(self) -> None:
        """Return when the store is ready, or the processes can start without it; or after `cancel`.

        Raises:
            StoreUnavailable: it is unavailable, and needed.
            StoreError: it can't be used.
        """
        done, _ = await asyncio.wait({self._task}, timeout=None if self._needed else _START_TIMEOUT)
        if not done:
            self._leave(self._store.migrating or "it does not answer in time")
        elif not self._task.cancelled():
            await self._task

    def cancel(self) -> None:
        """Cancel: what was begun is undone."""
        self._task.cancel()

    async def end(self) -> None:
        """Cancel, and wait until that is done."""
        await cancel_and_wait(self._task)

    async def _prepare(self) -> None:
        try:
            await open_reporting(self._store, self._report)
        except StoreUnavailable as error:
            if self._needed:
                raise
            self._leave(str(error))  # the processes try again, each for itself
        except StoreError as error:
            if not self._left:
                raise
            _log.error("the store can't be used: %s", error)
        else:
            self.succeeded = True
            if self._left:
                _log.info("the store is ready")
        finally:
            await self._store.close()

    def _leave(self, reason: str) -> None:
        if not self._left:
            self._left, self._reported = True, reason
            _log.warning("starting without the store, which is waited for: %s", reason)

    def _report(self, reason: str) -> None:
        if reason != self._reported:
            self._reported = reason
            _log.warning("the store is waited for: %s", reason)
