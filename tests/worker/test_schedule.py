"""Scheduled sends join when they are due, but not before a reply that was acknowledged earlier."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from offhook.arrivals.logged import LoggedStore
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import SendState
from offhook.stores.api import SendRequest, Store
from offhook.stores.sqlite.store import SqliteStore
from offhook.worker.schedule import Schedule
from offhook.worker.sorter import Sorter
from testing.spools import eventually
from testing.stores import draft, opened, webhook

SOON = 0.2  # seconds
REPLY = webhook("SM1", From="+15551230001")


def request(body: str, *, unless_reply: bool = False) -> SendRequest:
    drafts = (draft(f"key:{body}", body),)
    return SendRequest(Inbound.of(REPLY).lane, drafts, body, SOON, unless_reply)


async def state(store: Store, asked: SendRequest) -> SendState:
    (send,) = await store.request(asked)
    assert send.repeated
    return send.state


@asynccontextmanager
async def running(part: Schedule | Sorter) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        part.stop()
        await task


async def test_what_a_reply_cancels_waits_until_all_that_came_before_is_sorted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "offhook.db"
    nudge, reminder = request("still there?", unless_reply=True), request("reminder")
    async with opened(path) as store:
        log = LoggedStore(SqliteStore(path), lambda _: None)
        await log.open()
        await log.accept(REPLY)
        assert isinstance(store, SqliteStore)
        await store.request(nudge)
        await store.request(reminder)

        async def has_joined() -> bool:
            return await state(store, reminder) is SendState.PENDING

        async with running(Schedule(store)):
            await eventually(has_joined)
            assert await state(store, nudge) is SendState.SCHEDULED
            async with running(Sorter(store, lambda _: None)):
                await eventually(lambda: store.knows(Inbound.of(REPLY)))
            assert await state(store, nudge) is SendState.CANCELED
        await log.close()


async def test_what_a_reply_cancels_joins_when_there_is_none(tmp_path: Path) -> None:
    nudge = request("still there?", unless_reply=True)
    async with opened(tmp_path / "offhook.db") as store:
        await store.request(nudge)

        async def has_joined() -> bool:
            return await state(store, nudge) is SendState.PENDING

        async with running(Schedule(store)):
            await eventually(has_joined)
