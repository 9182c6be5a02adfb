"""Every test that asks for `url` runs over both stores."""

import asyncio
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from offhook.stores import open_store
from testing.postgres import Databases, postgres

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
    """A store in PostgreSQL, of the test's own."""
    name = f"offhook_{os.getpid()}_{next(_NUMBERS)}"
    yield databases.create(name, template=template)
    databases.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of the test's own; each test has one of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/offhook.db"
    found: str = request.getfixturevalue("postgres_url")
    return found
