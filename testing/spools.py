"""An ingress' way to a store that a test can take away, and the spool beside it."""

import asyncio
import secrets
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.file import Slot
from offhook.arrivals.spool import Spool
from offhook.arrivals.spooled import SpooledStore
from offhook.arrivals.waiting import spooled
from offhook.concurrency import Deadline
from offhook.core.inbound import Webhook
from offhook.events import Event, Problem, Sorted, Topic
from offhook.stores import open_store
from offhook.stores.api import Filter, Record, Store
from offhook.stores.sqlite.files import beside
from testing.stores import webhook

PATIENCE = 60.0  # seconds; for machines that do other things too
_IMPATIENT = 0.1  # seconds
VICTIM = "victim"


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
    def spool(self) -> Path:
        return self.path / "spool.db"

    def open_store(self) -> Store:
        self.opened += 1
        return open_store(f"sqlite:///{self.database}")

    def observe(self, event: Event) -> None:
        if not isinstance(event, Sorted):
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
        way = Way(self, store, Spool(self.spool, self.observe))
        await way.entrance.open()
        try:
            if self.folder.exists():
                await eventually(lambda: store.up)
            yield way
        finally:
            await way.entrance.close()

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

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let nobody forward: a process that does nothing leads. Entered before all."""
        lead = Slot.try_take(beside(self.spool, "-forwarder"), self.spool)
        assert lead is not None
        try:
            yield
        finally:
            lead.release()

    async def waiting(self) -> int:
        """Return how many webhooks are in the spool."""
        return await spooled(self.spool)

    async def stored(self) -> Sequence[Record]:
        """Return what the store has, in the order it came in."""
        store = open_store(f"sqlite:///{self.database}")
        await store.open()
        try:
            return (await store.find(Filter(limit=1_000_000)))[::-1]
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
        self.entrance = SpooledStore(store, spool, machine.observe, patience=0.5)

    async def accept(self, *webhooks: Webhook) -> list[bool]:
        """Accept webhooks, each when the one before is acknowledged."""
        return [await self.entrance.accept(one) for one in webhooks]

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Lock the store, and let this process find out.

        It takes a webhook, which may be stored directly all the same when the lock is gone.
        """
        with self._machine.locked():
            # However long it waited, there would be no answer.
            deadline, self.store._deadline = self.store._deadline, Deadline(_IMPATIENT)
            try:
                await self.accept(webhook(secrets.token_hex(4), VICTIM))
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
    """Return those of a lane, as `webhook` has it; without one all but the victims'."""
    sender = f"+1555{lane}"
    return [
        record.sid
        for record in records
        if record.sender == sender or (lane is None and record.sender != f"+1555{VICTIM}")
    ]


def bytes_of(file: Path) -> bytes:
    """Return what is in a file, read by another process.

    In this one, closing a database's file would drop the locks of all who have it open here.
    """
    return subprocess.run(["cat", file], check=True, capture_output=True).stdout
