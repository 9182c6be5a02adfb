"""A worker is killed while Twilio has its requests, or has not: each reply arrives exactly once.

No status callback comes, so nothing but Twilio's message list can tell. Time passes in the store.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offhook.core.forms import decode_form
from offhook.core.lifecycle import SendState
from offhook.core.unknown_sends import FIRST_LOOK, SECOND_LOOK
from offhook.stores.api import Filter, Store
from offhook.twilio.simulator.serving import serving
from testing.postgres import PostgresServer
from testing.roles import Site, in_thread, listening, site
from testing.stores import opened_sorted
from tests.conformance.clocks import clock_of

PATIENCE = 60.0
ANN, BOB = "+15551230001", "+15551230002"
BOT = """
from offhook import Message, Offhook
from offhook.worker import unknown_sends

vars(unknown_sends)["_EVERY"] = 0.05
vars(unknown_sends)["_PAUSE"] = 0.0
app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    return f"re {message.body}"
"""


class Gate:
    """Twilio's REST side, which takes requests to send and does not answer until it is open."""

    def __init__(self, rest: ASGIApp) -> None:
        self._rest = rest
        self.is_open = False
        self.held = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_open or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        request = await receive()
        body: bytes = request["body"]
        while request.get("more_body"):
            request = await receive()
            body += request["body"]

        async def replay() -> Message:
            return {"type": "http.request", "body": body}

        async def swallow(_: Message) -> None:
            pass

        if "accepted" in decode_form(body).get("Body"):
            await self._rest(scope, replay, swallow)
        self.held.release()
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/offhook.db"
    server: PostgresServer = request.getfixturevalue("server")
    return server.create_database("unknown_sends")


@asynccontextmanager
async def gated(path: Path, store_url: str) -> AsyncIterator[tuple[Site, Gate]]:
    async with site(path, BOT) as here:
        here.simulator._messaging._status_delay = 3600.0
        gate = Gate(here.simulator.rest)
        async with serving(gate, host="127.0.0.1", port=0) as api:
            here.environment |= {"OFFHOOK_TWILIO_API": api, "OFFHOOK_STORE": store_url}
            yield here, gate


async def states(store: Store) -> list[SendState]:
    histories = [await store.show(record.id) for record in await store.find(Filter())]
    return [send.state for history in histories if history for send in history.sends]


async def until_all(store: Store, wanted: Callable[[SendState], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if all(map(wanted, await states(store))):
                return
            await asyncio.sleep(0.05)


async def test_what_a_killed_worker_was_sending_arrives_exactly_once(
    tmp_path: Path, store_url: str
) -> None:
    async with gated(tmp_path, store_url) as (here, gate):
        simulator = here.simulator
        with here.run() as process:
            await listening(process)
            await simulator.text("accepted", from_=ANN)
            await simulator.text("vanished", from_=BOB)
            async with asyncio.timeout(PATIENCE):
                await gate.held.acquire()
                await gate.held.acquire()
            (worker,) = process.children("process.main worker")
            os.kill(worker, signal.SIGKILL)
            gate.is_open = True
            async with opened_sorted(store_url) as store, clock_of(store_url) as clock:
                await until_all(store, lambda state: state is SendState.UNKNOWN)
                await clock.advance(int(FIRST_LOOK) + 1)
                await in_thread(lambda: process.wait_for("looked up: found"))
                await in_thread(lambda: process.wait_for("looked up: missing"))
                assert [sent.body for sent in simulator.sent] == ["re accepted"]
                await clock.advance(int(SECOND_LOOK) + 1)
                await here.reply(BOB)
                await until_all(store, lambda state: state is SendState.SENT)
                histories = [await store.show(one.id) for one in await store.find(Filter())]
        sids = {send.sid for history in histories if history for send in history.sends}
        assert {sent.sid for sent in simulator.sent} == sids
        assert sorted(sent.body for sent in simulator.sent) == ["re accepted", "re vanished"]
