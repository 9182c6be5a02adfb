"""`Offhook.send`, from wherever it is called."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offhook import Message, Offhook, Send
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import SendState
from offhook.errors import InvalidReply, InvalidSend, SettingsError, StoreUnavailable
from offhook.stores import on_demand
from offhook.stores.api import SendFilter
from offhook.twilio.simulator import Simulator
from testing.commands import until
from testing.spools import eventually
from testing.stores import opened, webhook

ANN, BOB = "+15551230001", "+15551230002"
OURS = "+15005550006"


def app_in(directory: Path, **settings: Any) -> Offhook:
    account = {"account_sid": "AC" + "0" * 32, "auth_token": "t", "sender": OURS}
    return Offhook(store=f"sqlite:///{directory}/offhook.db", **{**account, **settings})


async def make_store(directory: Path) -> None:
    async with opened(directory / "offhook.db"):
        pass


async def bodies(directory: Path) -> list[str]:
    async with opened(directory / "offhook.db") as store:
        claimed = await store.claim_sends(9, lease=30.0, owner="w")
    return [one.draft.body for one in claimed.claims]


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("offhook")}


@asynccontextmanager
async def at_work(directory: Path, **settings: Any) -> AsyncIterator[tuple[Offhook, Simulator]]:
    """Run an app, worker and all, on a simulated Twilio that does not call it."""
    account = Simulator.credentials()
    async with Simulator(**account._asdict()) as simulator, simulator.serve() as api:
        app = app_in(directory, **account._asdict(), twilio_api=api, **settings)
        async with app.lifespan():
            yield app, simulator


def test_a_cron_job_sends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    before = names_of_threads()

    async def job() -> tuple[Send, Send]:
        return await app.send(ANN, "hello", key="k"), await app.send(ANN, "again", key="k")

    asyncio.run(make_store(tmp_path))
    first, second = asyncio.run(job())
    assert (first.repeated, second.repeated, second.id) == (False, True, first.id)
    third = app.send(ANN, "third", key="k")  # a script without an event loop
    assert third.repeated
    assert third.id == first.id
    until(lambda: names_of_threads() == before)
    assert asyncio.run(bodies(tmp_path)) == ["hello"]


async def test_a_store_that_nobody_uses_any_more_is_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "IDLE", 0.05)
    await make_store(tmp_path)
    app, before = app_in(tmp_path), names_of_threads()
    for number in range(2):
        await asyncio.gather(*(app.send(ANN, "hello", key=f"{number}") for _ in range(5)))
        assert names_of_threads() != before
        await eventually(lambda: names_of_threads() == before)
    assert await bodies(tmp_path) == ["hello"]


async def test_a_store_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"offhook\.db"):
        await app_in(tmp_path).send(ANN, "hello")
    assert not list(tmp_path.iterdir())


async def test_mistakes_are_found_before_anything_is_written(tmp_path: Path) -> None:
    await make_store(tmp_path)
    app = app_in(tmp_path)
    with pytest.raises(InvalidReply):
        await app.send(ANN, "")
    with pytest.raises(InvalidSend):
        await app.send(ANN, "hello", at=timedelta(days=400))
    with pytest.raises(SettingsError, match="TWILIO_ACCOUNT_SID"):
        await app_in(tmp_path, account_sid="").send(ANN, "hello")
    assert await bodies(tmp_path) == []


async def test_a_send_that_is_never_awaited_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        app_in(tmp_path).send(ANN, "hello")


async def test_a_running_app_sends_at_once_and_what_is_scheduled_when_it_is_due(
    tmp_path: Path,
) -> None:
    before = names_of_threads()
    async with at_work(tmp_path) as (app, simulator):
        await eventually(lambda: app._stores.loop is not None)
        later = await app.send(ANN, "later", at=timedelta(seconds=0.3))
        now = await app.send(ANN, "now")
        assert (later.state, now.state) == (SendState.SCHEDULED, SendState.PENDING)
        async with asyncio.timeout(60):
            await simulator.wait_for(lambda sent: sent.body == "later", to=ANN)
        opened_for_it = [one for one in asyncio.all_tasks() if "on demand" in one.get_name()]
        assert not opened_for_it, "the worker has a store"
        assert [sent.body for sent in simulator.sent] == ["now", "later"]
    await eventually(lambda: names_of_threads() == before)


async def test_twilio_refuses_what_is_sent_to_a_person_who_has_opted_out(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (app, simulator):
        simulator._messaging.heed({"From": ANN, "To": OURS, "Body": "STOP"}, when=0.0)
        refused = [await app.send(ANN, "hello", key="k")]

        async def has_failed() -> bool:
            refused.append(await app.send(ANN, "hello", key="k"))
            return refused[-1].state is SendState.FAILED

        await eventually(has_failed)
        assert refused[-1].error_code == "21610"
        assert simulator.sent == ()


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_handler_writes_to_somebody_else(tmp_path: Path, kind: str) -> None:
    async with at_work(tmp_path) as (app, simulator):

        async def forward(message: Message) -> None:
            await app.send(BOB, message.body, key=message.sid)

        def forward_in_a_thread(message: Message) -> None:
            sent = app.send(BOB, message.body, key=message.sid)
            assert app.send(BOB, "again", key=message.sid).id == sent.id

        app.message()(forward if kind == "async def" else forward_in_a_thread)
        async with opened(tmp_path / "offhook.db") as store:
            await store.accept(
                Inbound.of(webhook("SM1", Body="hello", AccountSid=app.settings.account_sid))
            )
        async with asyncio.timeout(60):
            sent = await simulator.wait_for(to=BOB)
        assert (sent.body, sent.from_) == ("hello", OURS)


async def test_a_handler_writes_with_the_account_of_its_message(tmp_path: Path) -> None:
    """No other account's sender is taken for it; elsewhere an account can be chosen."""
    other = "AC" + "7" * 32
    async with at_work(tmp_path, max_attempts=1, failure_notice="") as (app, simulator):
        errors: asyncio.Queue[str] = asyncio.Queue()

        async def forward(message: Message) -> None:
            try:
                await app.send(BOB, "with the settings' sender")
            except InvalidSend as error:
                errors.put_nowait(str(error))
            await app.send(BOB, "no", from_=message.to, account=app.settings.account_sid)

        app.message()(forward)
        async with opened(tmp_path / "offhook.db") as store:
            await store.accept(Inbound.of(webhook("SM1", Body="hello", AccountSid=other)))
            async with asyncio.timeout(60):
                assert other in await errors.get()
                assert (await simulator.wait_for(to=BOB)).body == "no"
            await app.send(ANN, "yes", from_=OURS, account=other, at=timedelta(hours=1))
            with pytest.raises(InvalidSend, match="AC and 32"):
                await app.send(ANN, "yes", account="AC7")
            (scheduled,) = await store.find_sends(SendFilter(account=other))
            assert (scheduled.body, scheduled.account_sid) == ("yes", other)
