"""A door that closes when too many wait, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offhook.core.keys import Kind
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.events import Event, Problem, Topic
from offhook.ingress.admission import BacklogLimit
from offhook.stores.api import Store
from testing.stores import DONE, claim, inbound, opened

LIMIT = 10


class Limited:
    """A limit on a store's backlog, and what is reported of it."""

    def __init__(self, store: Store, limit: int | None = LIMIT) -> None:
        self.store = store
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self.limit = BacklogLimit(store, limit, self.told.put_nowait)

    async def fill(self, number: int) -> None:
        for n in range(number):
            await self.store.accept(inbound(f"SM{n}", f"{n}"))

    async def settle(self, number: int) -> None:
        for one in await claim(self.store, number):
            await self.store.settle(one, DONE)

    async def problem(self) -> Problem:
        async with asyncio.timeout(60):
            event = await self.told.get()
        assert isinstance(event, Problem)
        return event


@asynccontextmanager
async def limited(
    path: Path, limit: int | None = LIMIT, waiting: int = LIMIT
) -> AsyncIterator[Limited]:
    async with opened(path / "offhook.db") as store:
        made = Limited(store, limit)
        await made.fill(waiting)
        await made.limit.start()
        try:
            yield made
        finally:
            await made.limit.stop()


async def test_beyond_the_limit_new_messages_are_refused_and_nothing_else(tmp_path: Path) -> None:
    async with limited(tmp_path) as full:
        problem = await full.problem()
        assert (problem.topic, problem.resolved) == (Topic.BACKLOG_FULL, False)
        for kind in (Kind.MESSAGE, Kind.DEFERRED):
            with pytest.raises(BacklogFull, match="OFFHOOK_MAX_BACKLOG is 10"):
                await full.limit.admit(inbound("new", kind=kind))
        assert not await full.limit.admit(inbound("SM1", "1"))
        assert await full.limit.admit(inbound("new", kind=Kind.STATUS))
        assert await full.store.backlog(100) == LIMIT + 1


async def test_below_the_limit_everything_is_let_in(tmp_path: Path) -> None:
    async with limited(tmp_path, waiting=LIMIT - 1) as wide:
        assert await wide.limit.admit(inbound("new"))
        assert (await wide.problem()).topic is Topic.BACKLOG_FULL


async def test_it_opens_again_when_there_is_room_and_not_a_message_before(tmp_path: Path) -> None:
    async with limited(tmp_path, limit=20, waiting=20) as full:
        await full.problem()
        counted = asyncio.Event()
        count = full.store.backlog

        async def backlog(at_most: int) -> int:
            number = await count(at_most)
            counted.set()
            return number

        full.store.backlog = backlog  # type: ignore[method-assign]
        await full.settle(1)
        await counted.wait()
        with pytest.raises(BacklogFull):
            await full.limit.admit(inbound("new"))
        await full.settle(1)
        problem = await full.problem()
        assert (problem.topic, problem.resolved) == (Topic.BACKLOG_FULL, True)
        assert await full.limit.admit(inbound("new"))


async def test_a_store_that_can_not_be_counted_changes_nothing(tmp_path: Path) -> None:
    async with limited(tmp_path, waiting=0) as wide:
        asked = asyncio.Semaphore(0)

        async def away(at_most: int) -> int:
            asked.release()
            raise StoreUnavailable("away")

        wide.store.backlog = away  # type: ignore[method-assign]
        await asked.acquire()
        await asked.acquire()
        assert await wide.limit.admit(inbound("new"))
        assert wide.told.empty()


async def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    async with limited(tmp_path, limit=None) as wide:
        assert await wide.limit.admit(inbound("new")._replace(age=1.0))
        assert wide.told.empty()
