"""Every test that asks for `url` runs over both stores."""

import asyncio
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from offhook.stores import open_store
from testing.postgres import Databases, postgres
from tests.conformance.clocks import clock_of

_NUMBERS = count(1)
_TEMPLATE = f"offhook_{os.getpid()}_template"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The server that OFFHOOK_TEST_POSTGRES names, or one of our own."""
    given = os.environ.get("OFFHOOK_TEST_POSTGRES")
    if given:
        yield Databases(given)
        return
    with postgres() as server:
        yield Databases(server.url)


@pytest.fixture(scope="session")
def template(databases: Databases) -> Iterator[str]:
    """A database whose schema is up to date: copying it is quicker than migrating another."""

    async def migrate(url: str) -> None:
        store = open_store(url)
        await store.open()
        await store.close()

    asyncio.run(migrate(databases.create(_TEMPLATE)))
    yield _TEMPLATE
    databases.drop(_TEMPLATE)


@pytest.fixture
def postgres_url(databases: Databases, template: str) -> Iterator[str]:
    """A store in PostgreSQL for a test that changes its schema or settings."""
    name = f"offhook_{os.getpid()}_{next(_NUMBERS)}"
    yield databases.create(name, template=template)
    databases.drop(name)


@pytest.fixture(scope="session")
def reused_url(databases: Databases, template: str) -> Iterator[str]:
    """A store in PostgreSQL for many tests: emptying it takes 80 ms less CPU than another copy."""
    name = f"offhook_{os.getpid()}_reused"
    yield databases.create(name, template=template)
    databases.drop(name)


@pytest.fixture
def emptied_url(reused_url: str) -> str:
    """A store in PostgreSQL that is empty, and to which nobody is connected."""
    asyncio.run(_empty(reused_url))
    return reused_url


async def _empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        # A test that failed may have left connections that hold locks.
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )
        await connection.execute(
            "SELECT setval(format('offhook.%I', sequencename)::regclass, start_value, false) "
            "FROM pg_sequences WHERE schemaname = 'offhook'"
        )
    finally:
        await connection.close()
    async with clock_of(url) as clock:
        await clock.clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with nothing in it, whose schema the test leaves as it is; one of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/offhook.db"
    found: str = request.getfixturevalue("emptied_url")
    return found
