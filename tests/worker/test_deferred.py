"""Deferred requests are verified before any handler runs: accepted as they are, or discarded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from offhook.core.forms import Refusal
from offhook.core.keys import Kind
from offhook.core.lifecycle import State, Trigger
from offhook.core.reasons import Cause
from offhook.core.requests import Request
from offhook.core.signature import sign
from offhook.events import Handled
from offhook.ingress.credentials import Credentials
from offhook.stores import open_store
from offhook.stores.api import Filter
from offhook.worker.message import Message
from offhook.worker.service import Worker
from testing.stores import deferred as arrived
from tests.ingress.test_credentials import Source
from tests.worker.support import ANN, OURS, Line, handled_by, opened, serving

TENANT = "AC" + "7" * 32
SID = "SM" + "1" * 32
URL = "https://bot.example.com"
SECOND = "SM" + "2" * 32
HOUR = 3600.0


def request(sid: str = SID, *, token: str = "tenant's", **more: str) -> Request:
    sids = {"MessageSid": sid, "SmsMessageSid": sid, "SmsSid": sid, "AccountSid": TENANT}
    fields = {**sids, "From": ANN, "To": OURS, "Body": "hello", **more}
    return Request(
        kind=Kind.MESSAGE,
        method="POST",
        base=URL,
        path="/twilio/messages",
        query=b"",
        content_type="application/x-www-form-urlencoded",
        signature=sign(url=f"{URL}/twilio/messages", params=fields.items(), auth_token=token),
        body=urlencode(fields).encode(),
        started=0.0,
    )


class Bot:
    """A handler, and what it has seen."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def answer(self, message: Message) -> None:
        self.seen.append(message.sid)


@asynccontextmanager
async def bench(tmp_path: Path, bot: Bot, source: Source) -> AsyncIterator[Line]:
    handlers = handled_by(bot.answer)
    async with opened(tmp_path, handlers) as line:
        credentials = Credentials(line.settings, source, line.told)
        line.worker = Worker(
            line.store,
            handlers,
            line.settings,
            line.told,
            owner="worker",
            open_store=lambda: open_store(line.url),
            credentials=credentials,
        )
        try:
            yield line
        finally:
            await credentials.close()


async def states(line: Line, **wanted: Any) -> dict[str, State]:
    return {record.sid: record.state for record in await line.store.find(Filter(**wanted))}


def handled(line: Line, kind: Kind) -> list[Handled]:
    return [event for event in line.told.of(Handled) if event.kind is kind]


def are_handled(line: Line) -> bool:
    """Return whether a deferred request has been verified, and the message that it was, handled."""
    return bool(handled(line, Kind.DEFERRED) and handled(line, Kind.MESSAGE))


async def test_a_genuine_one_is_handled_once_and_marked_as_late(tmp_path: Path) -> None:
    bot = Bot()

    async with bench(tmp_path, bot, Source(**{TENANT: "tenant's"})) as line:
        assert await line.store.accept(arrived(request(), TENANT)._replace(age=HOUR))
        async with serving(line):
            await line.told.until(lambda: are_handled(line))
        assert await states(line) == {SID: State.DONE}
        deferred, message = sorted(await line.store.find(Filter()), key=lambda one: one.id)
        assert (deferred.kind, deferred.state) == (Kind.DEFERRED, State.DONE)
        assert (message.kind, message.spooled) == (Kind.MESSAGE, True)
        assert abs(message.received - deferred.received) < HOUR / 2
    assert bot.seen == [SID]


async def test_a_forged_one_is_discarded_with_the_reason_and_no_handler_runs(
    tmp_path: Path,
) -> None:
    bot = Bot()

    async with bench(tmp_path, bot, Source(**{TENANT: "tenant's"})) as line:
        await line.store.accept(arrived(request(token="guessed"), TENANT))
        async with serving(line):
            (event,) = await line.told.runs(1)
        assert event.trigger is Trigger.DISCARD
        (record,) = await line.store.find(Filter())
        assert (record.kind, record.state) == (Kind.DEFERRED, State.DISCARDED)
        assert record.error == Cause.NOT_TWILIOS(Refusal.SIGNATURE_MISMATCH)
        # And the genuine one is not taken for its repeat.
        assert await line.store.accept(arrived(request(), TENANT))
    assert bot.seen == []


async def test_it_waits_for_the_credentials_without_holding_up_anybody(tmp_path: Path) -> None:
    bot = Bot()

    source = Source(**{TENANT: "tenant's"})
    source.error = OSError("away")
    async with bench(tmp_path, bot, source) as line:
        await line.store.accept(arrived(request(), TENANT))
        await line.store.accept(arrived(request(SECOND), TENANT))
        async with serving(line):
            (first, *_) = await line.told.runs(1)
            assert first.trigger is Trigger.RETRY
            sid = await line.receive("beside")
            await line.told.until(lambda: bot.seen == [sid])
            source.error = None
            await line.told.until(lambda: bot.seen == [sid, SID, SECOND])
        waited = handled(line, Kind.DEFERRED)
        assert [event.trigger for event in waited if event.sid == SECOND] == [Trigger.COMPLETE]


async def test_one_that_was_accepted_meanwhile_is_not_handled_twice(tmp_path: Path) -> None:
    bot = Bot()

    async with bench(tmp_path, bot, Source(**{TENANT: "tenant's"})) as line:
        for one in (request(), request(ErrorCode="11200")):  # and its fallback request
            await line.store.accept(arrived(one, TENANT))
        async with serving(line):
            await line.told.until(lambda: len(handled(line, Kind.DEFERRED)) == 2)
            await line.told.until(lambda: bool(handled(line, Kind.MESSAGE)))
        assert len(await line.store.find(Filter(kind=Kind.MESSAGE))) == 1
    assert bot.seen == [SID]


async def test_a_worker_that_dies_between_accepting_and_settling_does_no_harm(
    tmp_path: Path,
) -> None:
    bot = Bot()

    async with bench(tmp_path, bot, Source(**{TENANT: "tenant's"})) as line:
        await line.store.accept(arrived(request(), TENANT))
        async with serving(line):
            await line.told.until(lambda: are_handled(line))
        (deferred,) = await line.store.find(Filter(kind=Kind.DEFERRED))
        # What a crash comes to: it is verified, and accepted, once more.
        assert await line.store.replay(deferred.id)
        again = Line(line.store, line.url, handled_by(bot.answer), line.settings)
        again.worker = Worker(
            line.store,
            handled_by(bot.answer),
            line.settings,
            again.told,
            owner="worker",
            open_store=lambda: open_store(line.url),
            credentials=Credentials(line.settings, Source(**{TENANT: "tenant's"}), again.told),
        )
        async with serving(again):
            (event,) = await again.told.runs(1)
        assert event.trigger is Trigger.COMPLETE
        assert len(await line.store.find(Filter(kind=Kind.MESSAGE))) == 1
    assert bot.seen == [SID]
