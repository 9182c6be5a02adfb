"""Count what is acknowledged, and yet to be sorted into the store."""

import asyncio
import sqlite3
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from offhook.arrivals.file import Waiting
from offhook.arrivals.reader import LogReader
from offhook.arrivals.record import NS_OF_S
from offhook.clock import elapsed_ns
from offhook.core.lifecycle import State
from offhook.errors import StoreUnavailable
from offhook.stores.api import Counts, Store
from offhook.stores.sqlite.store import SqliteStore


async def waiting(
    store: SqliteStore, at_most: int | None = None, *, thread: Executor | None = None
) -> Waiting:
    """Return what the logs of a store hold that it does not.

    Args:
        store: open.
        at_most: arrivals of each log, beyond which they need not be counted.
        thread: where to look; None for the event loop's executor.

    Raises:
        StoreUnavailable: it or a log can't be read.
    """
    return await _waiting(store.path, await store.positions(), at_most, thread)


async def spooled(spool: Path) -> int:
    """Return how many webhooks a machine's spool holds.

    Args:
        spool: its path.

    Raises:
        StoreUnavailable: a log can't be read.
    """
    return (await _waiting(spool, {}, None, None)).number


async def _waiting(
    home: Path, positions: Mapping[bytes, int], at_most: int | None, thread: Executor | None
) -> Waiting:
    def look() -> Waiting:
        reader = LogReader(home, elapsed_ns, lambda *_: None)
        try:
            return reader.waiting(positions, at_most)
        finally:
            reader.close()

    try:
        return await asyncio.get_running_loop().run_in_executor(thread, look)
    except (OSError, sqlite3.Error) as error:
        raise unavailable(home, error) from error


def unavailable(home: Path, error: Exception) -> StoreUnavailable:
    """Return the error of a log that can't be read. It doesn't say that the store is broken."""
    return StoreUnavailable(f"cannot read the arrivals of {home}: {error}")


async def counts(store: Store) -> Counts:
    """Return the store's counts, with what waits in the logs of this machine among the open ones.

    Raises:
        StoreUnavailable: it or a log can't be read.
    """
    found = await store.counts()
    if not isinstance(store, SqliteStore):
        return found
    unsorted = await waiting(store)
    if unsorted.since is None:
        return found
    waited = max(0.0, (store.now() - unsorted.since) / NS_OF_S)
    live = found.messages.get(State.OPEN, 0) + unsorted.number
    return replace(
        found,
        messages={**found.messages, State.OPEN: live},
        oldest=max(found.oldest or 0.0, waited),
    )
