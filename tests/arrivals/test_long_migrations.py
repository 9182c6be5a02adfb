"""A migration takes longer than anybody's patience.

It is begun once, and finished. Meanwhile an ingress with a spool acknowledges, everybody says what
they wait for, and who is told to end ends, and leaves nothing going on.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.spool import Spool
from offhook.arrivals.spooled import SpooledStore
from offhook.errors import StoreUnavailable
from offhook.events import Event, Problem, Sorted
from offhook.stores import open_store
from offhook.stores.api import Filter, Store
from offhook.stores.postgres.schema import ANOTHERS, OURS
from testing.postgres import PostgresServer
from testing.roles import Site, ended, in_thread, listening, site, working
from testing.spools import eventually
from testing.stores import webhook

EVERYTHING = [webhook(f"SM{n:03}", f"lane{n % 7}") for n in range(30)]
SIDS = [f"SM{n:03}" for n in range(30)]

# What a migration can meet. The first, a session that is within its own; the second, one that uses
# the table, beside which no index can be built.
ANOTHER_MIGRATION = "SELECT pg_advisory_xact_lock(x'6f6666686f6f6b'::bigint)"
A_TABLE = "LOCK TABLE offhook.messages IN ROW EXCLUSIVE MODE"
_MIGRATING = (
    "pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND query LIKE '%CREATE INDEX%'"
)
HOLDUPS = pytest.mark.parametrize(
    ("holdup", "reason"),
    [(ANOTHER_MIGRATION, ANOTHERS), (A_TABLE, OURS)],
    ids=["another migrates", "a table is in use"],
)


@pytest.fixture(scope="module")
def old(server: PostgresServer) -> str:
    """The name of a database whose schema lacks the newest migrations."""

    async def make() -> None:
        async with opened(server.create_database("old")):
            pass

    asyncio.run(make())
    server.execute(
        "DROP INDEX offhook.messages_sender; DELETE FROM offhook.migrations WHERE version >= 2",
        database="old",
    )
    return "old"


@pytest.fixture
def url(server: PostgresServer, old: str) -> str:
    """The same, of the test's own."""
    return server.create_database(f"migrating_{secrets.token_hex(4)}", template=old)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report after 0.3 s what is waited for."""
    monkeypatch.setattr("offhook.stores.availability.MOMENT", 0.3)
    monkeypatch.setattr("offhook.arrivals.breaker._STARTING", 0.3)


def impatient(path: Path, **environment: str) -> AbstractAsyncContextManager[Site]:
    """The same, for processes."""
    ours = str(Path(__file__).with_name("impatient"))
    given = os.environ.get("PYTHONPATH")
    return site(path, PYTHONPATH=f"{ours}{os.pathsep}{given}" if given else ours, **environment)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def place(url: str) -> str:
    """Return how a database is called in the log."""
    host, _, database = url.rpartition("@")[2].partition("/")
    return f"PostgreSQL at {host}, database {database}"


class Holdup:
    """A transaction that holds migrations up, until it is let go.

    Args:
        url: of the database.
        by: what it does.
    """

    def __init__(self, url: str, by: str) -> None:
        self._url = url
        self._by = by

    async def __aenter__(self) -> Self:
        self._holding = await asyncpg.connect(self._url)
        # Another session, for within a transaction the activity of others stands still.
        self._looking = await asyncpg.connect(self._url)
        await self._holding.execute(f"BEGIN; {self._by}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._holding.close()
        await self._looking.close()

    async def let_go(self) -> None:
        await self._holding.execute("ROLLBACK")

    async def migrating(self) -> object:
        """Wait for a migration to be under way; return when it began."""

        async def is_under_way() -> bool:
            self._began = await self._looking.fetchval(f"SELECT xact_start FROM {_MIGRATING}")
            return self._began is not None

        await eventually(is_under_way)
        return self._began

    async def break_off(self) -> None:
        """End the session that migrates."""
        await self.migrating()
        await self._looking.execute(f"SELECT pg_terminate_backend(pid) FROM {_MIGRATING}")

    async def applied(self) -> object:
        """Return when the migration began that was finished."""
        return await self._looking.fetchval(
            "SELECT applied FROM offhook.migrations WHERE version >= 2"
        )

    async def is_over(self) -> bool:
        """Return whether nobody migrates."""
        return not await self._looking.fetch(f"SELECT FROM {_MIGRATING}")


class Ingress:
    """One process' way to a store."""

    def __init__(self, path: Path, url: str) -> None:
        self._url = url
        self.attempts = 0
        self.problems: list[Problem] = []
        spool = Spool(path / "spool.db", self._observe)
        self.store = Breaker(self._open_store, self._observe, patience=0.5)
        self.entrance = SpooledStore(self.store, spool, self._observe, patience=0.5)

    def _open_store(self) -> Store:
        self.attempts += 1
        return open_store(self._url)

    def _observe(self, event: Event) -> None:
        if not isinstance(event, Sorted):
            assert isinstance(event, Problem)
            self.problems.append(event)

    async def accept_everything(self) -> list[bool]:
        return [await self.entrance.accept(one) for one in EVERYTHING]

    async def told(self, text: str) -> None:
        await eventually(lambda: any(text in problem.text for problem in self.problems))


@HOLDUPS
async def test_an_ingress_acknowledges_and_one_attempt_finishes(
    tmp_path: Path, url: str, holdup: str, reason: str
) -> None:
    here = Ingress(tmp_path, url)
    async with Holdup(url, holdup) as held:
        await here.entrance.open()
        assert all(await here.accept_everything())
        await here.told(f"webhooks are kept in the spool: {place(url)}: {reason}")
        with pytest.raises(StoreUnavailable):
            await here.store.backlog(1)
        began = await held.migrating() if holdup == A_TABLE else None
        await held.let_go()
        await here.told("the store is back")
        await here.told(f"{len(EVERYTHING)} webhooks were forwarded")
        assert here.attempts == 1
        assert began in {None, await held.applied()}
    await here.entrance.close()
    async with opened(url) as store:
        stored = await store.find(Filter(limit=100))
    assert sorted(one.sid for one in stored) == SIDS


async def test_a_migration_that_fails_is_tried_again_and_why_is_told(
    tmp_path: Path, url: str
) -> None:
    here = Ingress(tmp_path, url)
    async with Holdup(url, A_TABLE) as held:
        await here.entrance.open()
        await here.told(OURS)
        await held.break_off()
        await here.told("terminating connection due to administrator command")
        await held.let_go()
        await here.told("the store is back")
        assert here.attempts > 1
    await here.entrance.close()


async def test_an_ingress_that_stops_leaves_no_migration_going_on(tmp_path: Path, url: str) -> None:
    here = Ingress(tmp_path, url)
    async with Holdup(url, A_TABLE) as held:
        await here.entrance.open()
        assert all(await here.accept_everything())
        await held.migrating()
        await here.entrance.close()
        await eventually(held.is_over)  # though the table is not free yet
        await here.told(f"{len(EVERYTHING)} webhooks are left in it")


@HOLDUPS
async def test_a_worker_starts_beside_one_migration_and_says_so(
    tmp_path: Path, url: str, holdup: str, reason: str
) -> None:
    async with impatient(tmp_path, OFFHOOK_STORE=url) as here, Holdup(url, holdup) as held:
        with here.worker() as worker:
            await in_thread(lambda: worker.wait_for(f"waited for: {place(url)}: {reason}"))
            await in_thread(lambda: worker.wait_for(f"not handled: {place(url)}: {ANOTHERS}"))
            began = await held.migrating() if holdup == A_TABLE else None
            await held.let_go()
            await in_thread(lambda: worker.wait_for("the store is ready"))
            await in_thread(lambda: worker.wait_for("the store is back"))
            await working(worker)
            assert worker.output.index("the store is back") < worker.output.index("worker ready")
            assert began in {None, await held.applied()}
            with here.ingress() as ingress:
                await listening(ingress)
                assert (await here.simulator.text("hello")).status == 200
                assert (await here.reply()).split()[0] == "hello"
                ingress.send(signal.SIGTERM)
                assert await ended(ingress) == 0
            worker.send(signal.SIGTERM)
            assert await ended(worker) == 0
            assert "restarting" not in worker.output, "nothing crashed"


@pytest.mark.parametrize(
    ("role", "by"),
    [
        ("worker", "SIGTERM"), ("worker", "Ctrl-C"), ("ingress", "SIGTERM"),
        ("ingress with a spool", "SIGTERM"), ("ingress with a spool", "Ctrl-C"),
    ],
)  # fmt: skip
async def test_who_is_told_to_end_during_a_migration_ends_in_good_order(
    tmp_path: Path, url: str, role: str, by: str
) -> None:
    environment = {"OFFHOOK_STORE": url}
    if "spool" in role:
        environment["OFFHOOK_SPOOL"] = f"sqlite:///{tmp_path}/spool.db"
    async with impatient(tmp_path, **environment) as here, Holdup(url, A_TABLE) as held:
        with here.worker() if role == "worker" else here.ingress() as process:
            await in_thread(lambda: process.wait_for(f"waited for: {place(url)}: {OURS}"))
            if role == "worker":  # before that, its process is still starting
                await in_thread(lambda: process.wait_for(f"not handled: {place(url)}: {ANOTHERS}"))
            elif "spool" in role:
                await listening(process)
                assert (await here.simulator.text("hello")).status == 200
            if by == "SIGTERM":
                process.send(signal.SIGTERM)
            else:
                process.interrupt()
            assert await ended(process) == 0, process.explain()
            assert "Traceback" not in process.output
            assert "has not exited in time" not in process.output
        await eventually(held.is_over)  # though the table is not free yet
