"""An ingress' way to a store that a test can take away, and the spool beside it."""

import asyncio
import secrets
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path

from offhook.arrivals import Breaker, Spooling
from offhook.arrivals.spool import SqliteSpool, open_spool
from offhook.concurrency import Deadline
from offhook.core.inbound import Inbound
from offhook.events import Event, Problem, Topic
from offhook.stores import open_store
from offhook.stores.api import Filter, Record, Spool, Store
from offhook.stores.sqlite.store import SqliteStore
from testing.stores import inbound

PATIENCE = 60.0  # seconds; for machines that do other things too
_IMPATIENT = 0.1  # seconds


async def keep(file: Store | Spool, inbound: Inbound) -> bool:
    """Have a store or a spool keep a webhook."""
    if isinstance(file, SqliteStore):
        return await file.accept(inbound)
    assert isinstance(file, SqliteSpool)
    return await file.append(inbound)


class Machine:
    """A directory with a store and a spool. The store is SQLite's: what is shown here holds for
    whatever keeps the port, and `test_postgres.py` shows it with a server that is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "store"
        self.folder.mkdir()
        self.database = self.folder / "offhook.db"
        self.problems: list[Problem] = []
        self.opened = 0

    @property
    def spool_url(self) -> str:
        return f"sqlite:///{self.path}/spool.db"

    def open_store(self) -> Store:
        self.opened += 1
        return open_store(f"sqlite:///{self.database}")

    def observe(self, event: Event) -> None:
        assert isinstance(event, Problem)
        self.problems.append(event)

    def told(self, topic: Topic) -> Sequence[str]:
        return [problem.text for problem in self.problems if problem.topic == topic]

    @asynccontextmanager
    async def ingress(self, *, patience: float = PATIENCE) -> AsyncIterator["Way"]:
        """Be one more process of this machine, which has found its store, unless that is away.

        The store has to answer within `patience` seconds: a busy machine may need some without an
        outage. One that is locked fails sooner, for SQLite gives up after a second.
        """
        store = Breaker(self.open_store, self.observe, patience=patience)
        way = Way(self, store, open_spool(self.spool_url))
        await way.spooling.start()
        try:
            if self.folder.exists():
                await eventually(lambda: store.up)
            yield way
        finally:
            await way.spooling.stop()

    def locked(self) -> AbstractContextManager[None]:
        """Keep all others from writing to the store: it is there, and does not answer."""
        return locked(self.database)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have no store at all: for those that are not open yet."""
        elsewhere = self.path / "elsewhere"
        self.folder.rename(elsewhere)
        try:
            yield
        finally:
            elsewhere.rename(self.folder)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Let nobody forward: a process that does nothing has the lead. Entered before all."""
        spool = open_spool(self.spool_url)
        await spool.open()
        try:
            assert spool.lead()
            yield
        finally:
            await spool.close()

    async def waiting(self) -> int:
        """Return how many webhooks are in the spool."""
        async with AsyncExitStack() as stack:
            spool = open_spool(self.spool_url)
            await spool.open()
            stack.push_async_callback(spool.close)
            return await spool.count()

    async def stored(self) -> Sequence[Record]:
        """Return what the store has, in the order it came in."""
        store = open_store(f"sqlite:///{self.database}")
        await store.open()
        try:
            return (await store.find(Filter(limit=10_000)))[::-1]
        finally:
            await store.close()

    async def until_stored(self, count: int) -> Sequence[Record]:
        async def enough() -> bool:
            return len(await self.stored()) >= count

        await eventually(enough)
        return await self.stored()


class Way:
    """One process' way in."""

    def __init__(self, machine: Machine, store: Breaker, spool: Spool) -> None:
        self._machine = machine
        self.store = store
        self.spool = spool
        self.spooling = Spooling(store, store.accept, spool, machine.observe)

    async def accept(self, *inbounds: Inbound) -> list[bool]:
        """Accept webhooks, each when the one before is acknowledged."""
        return [await self.spooling.append(inbound) for inbound in inbounds]

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Lock the store, and let this process find out.

        It takes a webhook, which may be stored directly all the same when the lock is gone.
        """
        with self._machine.locked():
            # However long it waited, there would be no answer.
            deadline, self.store._deadline = self.store._deadline, Deadline(_IMPATIENT)
            try:
                await self.accept(inbound(secrets.token_hex(4), "victim"))
            finally:
                self.store._deadline = deadline
            yield

    async def until_back(self) -> None:
        """Wait until the store is asked again."""

        async def is_back() -> bool:
            try:
                await self.store.backlog(1)
            except Exception:  # noqa: BLE001 - not yet
                return False
            return True

        await eventually(is_back)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Keep all others from writing to a database."""
    intruder = sqlite3.connect(database, isolation_level=None, timeout=PATIENCE)
    intruder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        intruder.execute("ROLLBACK")
        intruder.close()


async def eventually(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            held = true()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


def sids(records: Sequence[Record], lane: str | None = None) -> list[str]:
    return [
        record.sid
        for record in records
        if record.lane == lane or (lane is None and record.lane != "victim")
    ]


def bytes_of(file: Path) -> bytes:
    """Return what is in a file, read by another process.

    In this one, closing a database's file would drop the locks of all who have it open here.
    """
    return subprocess.run(["cat", file], check=True, capture_output=True).stdout
