"""A conversation's state and its replies agree, whenever the worker is killed: old or new.

The bot counts a conversation's messages in its state, and answers with the number. Its worker is
killed between `message.reply` and the end of the run, or around it, each time in another message.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest

from offhook.core.inbound import Inbound, Webhook
from offhook.core.lifecycle import State, Trigger
from offhook.stores.api import Filter, Store
from testing.commands import PATIENCE, Home, Process, until
from testing.ports import free_port
from testing.postgres import PostgresServer
from testing.stores import opened, webhook

KILLS = int(os.environ.get("CRASH_KILLS", "100"))
ACCOUNT = "AC" + "0" * 32
BOT = """
import asyncio, os, random
from pathlib import Path
from offhook import Message, Offhook

app = Offhook()
journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

@app.message()
async def count(message: Message) -> str:
    state = message.conversation.state
    state["count"] = number = state.get("count", 0) + 1
    await message.reply(f"counting {number}")
    first = message.sid not in Path("journal").read_text()
    os.write(journal, f"{message.sid}\\n".encode())
    if first and Path("hold").exists():
        await asyncio.sleep(3600)
    await asyncio.sleep(random.uniform(0, 0.02))
    state["sids"] = [*state.get("sids", ()), message.sid]
    state["filler"] = "x" * random.randrange(100_000)  # many pages
    return f"count {number}"

if __name__ == "__main__":
    asyncio.run(app.work(asyncio.Event()))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/offhook.db"
    running: PostgresServer = request.getfixturevalue("server")
    return running.create_database(f"states_{tmp_path.name[-20:].lower()}")


async def test_a_state_is_old_or_new_and_never_half(url: str, tmp_path: Path) -> None:
    await kill_and_compare(url, tmp_path, kills=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_state_is_old_or_new_after_a_hundred_kills(url: str, tmp_path: Path) -> None:
    await kill_and_compare(url, tmp_path, kills=KILLS)


async def kill_and_compare(url: str, directory: Path, *, kills: int) -> None:
    home = Home(
        directory,
        BOT,
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN="0" * 32,
        OFFHOOK_TWILIO_API=f"http://127.0.0.1:{free_port()}",  # nobody is there: replies wait
        OFFHOOK_STORE=url,
        OFFHOOK_LEASE="2",
        OFFHOOK_SLOW_NOTICE="",
    )
    sids = [f"SM{number:032x}" for number in range(12 + 6 * kills)]
    async with opened(url) as store:
        await store.accept_all([Inbound.of(one) for one in map(message, sids)])
        between = 0
        for number in range(kills):
            between += await asyncio.to_thread(kill_once, home, holds=number % 2 == 0)
        with worker(home) as last:
            async with asyncio.timeout(PATIENCE + 2 * kills):
                while any([await state_of(store, sid) is not State.DONE for sid in sids]):
                    assert not last.has_ended(), last.explain()
                    await asyncio.sleep(0.1)  # no event of another process
        await compare(store, sids)
        crashes = [await crashes_of(store, sid) for sid in sids]
        assert between <= sum(crashes) <= kills
        print(f"{kills} kills, {sum(crashes)} before the end of the run")  # noqa: T201 - `-rP`


def message(sid: str) -> Webhook:
    return webhook(sid, AccountSid=ACCOUNT, From="+15551230001", Body="hello")


def worker(home: Home) -> Process:
    return Process(("worker",), home.directory, home.surroundings(), module="bot")


def kill_once(home: Home, *, holds: bool) -> bool:
    """Kill a worker soon after it has replied to a message that is new; return `holds`.

    It is killed before the end of that run if it holds, and else at any moment.
    """
    journal, hold = home.directory / "journal", home.directory / "hold"

    def seen() -> set[str]:
        return set(journal.read_text().split()) if journal.exists() else set()

    before = seen()
    if holds:
        hold.touch()
    with worker(home) as process:
        until(lambda: bool(seen() - before) or process.has_ended(), process.explain)
        assert not process.has_ended(), process.explain()
        process.kill()
    hold.unlink(missing_ok=True)
    return holds


async def state_of(store: Store, sid: str) -> State:
    (record,) = await store.find(Filter(sid=sid))
    return record.state


async def crashes_of(store: Store, sid: str) -> int:
    (record,) = await store.find(Filter(sid=sid))
    history = await store.show(record.id)
    assert history is not None
    return sum(attempt.trigger is Trigger.RESCUE for attempt in history.attempts)


async def compare(store: Store, sids: list[str]) -> None:
    """Look whether each message was counted once, and in order, by the state as by the replies."""
    for number, sid in enumerate(sids, 1):
        (record,) = await store.find(Filter(sid=sid))
        history = await store.show(record.id)
        assert history is not None
        found = {send.identity: send.body for send in history.sends}
        assert found == {"reply:0": f"counting {number}", "return:0": f"count {number}"}
    saved = await store.saved_state(record.lane)
    assert saved is not None
    state = json.loads(saved.value)
    assert (state["count"], state["sids"]) == (len(sids), sids)
