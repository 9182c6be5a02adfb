"""A claim whose answer is lost: nobody has the message, and nobody may wait for its lease."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from offhook.core.lifecycle import SendState, State, Trigger
from offhook.core.reasons import Cause
from offhook.errors import StoreError, StoreUnavailable
from offhook.events import Topic
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import Settlement
from offhook.worker.message import Message
from testing.postgres import PostgresServer
from testing.proxy import Proxy
from testing.stores import draft
from tests.worker.support import (
    ACCOUNT,
    ANN,
    BOB,
    PATIENCE,
    Line,
    handled_by,
    opened,
    serving,
)

LEASE = 300.0  # nobody's patience lasts so long
OWNER = b"worker"  # what a claim binds


async def in_time(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


@asynccontextmanager
async def broken_line(server: PostgresServer) -> AsyncIterator[tuple[Line, Proxy]]:
    """A line that works through a network which can be cut, and whose tests look past it."""

    async def answer(message: Message) -> None:
        pass

    url = server.create_database(f"lost_{secrets.token_hex(4)}")
    async with Proxy(url).serve() as proxy, line_through(proxy.url, url, answer) as line:
        yield line, proxy


@asynccontextmanager
async def line_through(
    cuttable: str, url: str, handler: Callable[[Message], Awaitable[None]]
) -> AsyncIterator[Line]:
    settings = Settings.load(
        env_file=None, account_sid=ACCOUNT, auth_token="t", store=url, lease=LEASE
    )
    worked, received = open_store(cuttable), open_store(url)
    await worked.open()
    await received.open()
    try:
        line = Line(worked, url, handled_by(handler), settings)
        line.store = received
        yield line
    finally:
        await worked.close()
        await received.close()


@asynccontextmanager
async def sending(line: Line) -> AsyncIterator[None]:
    """Let the ledger's sender alone work."""
    task = asyncio.create_task(line.sends.run())
    try:
        yield
    finally:
        line.sends.stop(0.0)
        await task


async def test_a_message_whose_claim_was_not_answered_is_claimed_again(
    server: PostgresServer,
) -> None:
    async with broken_line(server) as (line, proxy):
        sid = await line.receive("hello")
        proxy.lose_answer_to(OWNER)
        async with serving(line):
            await in_time(proxy.swallowed)
            proxy.mend()
            await line.told.runs(1)
        record = await line.record(sid)
        assert (record.state, record.attempts, record.crashes) == (State.DONE, 1, 0)
        history = await line.store.show(record.id)
        assert history is not None
        assert [attempt.error for attempt in history.attempts] == [Cause.CLAIM_LOST()]


async def test_a_send_whose_claim_was_not_answered_is_sent_once(server: PostgresServer) -> None:
    async with broken_line(server) as (line, proxy):
        sid = await line.receive("hello")
        (claim,) = (await line.store.claim(1, lease=LEASE, owner="w", alone=False)).claims
        await line.store.settle(claim, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        proxy.lose_answer_to(OWNER)
        async with sending(line):
            await in_time(proxy.swallowed)
            proxy.mend()
            await in_time(line.outbox.begun)
        assert [s.state for s in (await line.ledger(sid)).values()] == [SendState.SENT]
        assert [sent.tries for sent in line.outbox.sent] == [1]


async def test_a_send_that_could_not_be_settled_is_never_sent_again(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: "hello back")) as line:
        claimed = Failures(line.store.claim_sends)
        line.store.settle_send = Failures(None, StoreError("a mistake of ours"))  # type: ignore[method-assign]
        line.store.claim_sends = claimed  # type: ignore[method-assign]
        sid = await line.receive("hello")
        async with serving(line, sends=True):
            await line.told.problem(Topic.SEND_FAILED)
            claimed.next = StoreUnavailable("away")
            await line.receive("and then?", sender=BOB)  # wakes the sender
            await line.told.until(lambda: len(line.outbox.sent) == 2)
        assert [sent.draft.to for sent in line.outbox.sent] == [ANN, BOB]
        assert [s.state for s in (await line.ledger(sid)).values()] == [SendState.SENDING]


async def test_a_run_that_could_not_settle_is_not_taken_for_one_that_never_was(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, handled_by(lambda: None)) as line:
        claimed = Failures(line.store.claim)
        settled = Failures(line.store.settle, StoreError("a mistake of ours"))
        line.store.claim = claimed  # type: ignore[method-assign]
        line.store.settle = settled  # type: ignore[method-assign]
        sid = await line.receive("hello")
        async with serving(line):
            await line.told.problem(Topic.RUN_FAILED)
            claimed.next = StoreUnavailable("away")
            await line.receive("and then?", sender=BOB)
            await line.told.runs(1)
        record = await line.record(sid)
        assert (record.state, record.attempts) == (State.RUNNING, 0)
        history = await line.store.show(record.id)
        assert history is not None
        assert history.attempts == ()


class Failures:
    """A call of the store that fails when it is told to, once; without a call, each time."""

    def __init__(
        self, call: Callable[..., Awaitable[Any]] | None, error: Exception | None = None
    ) -> None:
        self._call = call
        self.next = error

    async def __call__(self, *args: Any, **options: Any) -> Any:
        error = self.next
        if self._call is not None:
            self.next = None
        if error is not None:
            raise error
        if self._call is None:
            raise AssertionError("it has nothing to do")
        return await self._call(*args, **options)
