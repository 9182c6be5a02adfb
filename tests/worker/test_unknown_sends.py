"""Looking unknown sends up: a real store, the simulator's list over a socket, time in the store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from starlette.types import Receive, Scope, Send

from offhook.concurrency import cancel_and_wait
from offhook.core.lifecycle import SendState, SendTrigger
from offhook.core.unknown_sends import FIRST_LOOK, SECOND_LOOK, Finding
from offhook.events import LookedUp, Problem, Topic
from offhook.settings import Settings, UnknownSendPolicy
from offhook.stores.api import Filter, SendOutcome, Store
from offhook.twilio.logins import SettingsLogin
from offhook.twilio.simulator import Simulator, Trouble
from offhook.twilio.simulator.serving import serving
from offhook.worker import unknown_sends
from offhook.worker.handlers import Handlers
from offhook.worker.role import WorkerRole
from offhook.worker.unknown_sends import UnknownSends
from testing.stores import DONE, claim_one, draft, inbound, opened
from testing.twilio.helpers import simulator
from testing.twilio.line import CREDENTIALS, create
from tests.conformance.clocks import Clock, clock_of
from tests.worker.support import Told

ANN, BOB = "+15551230001", "+15551230002"
WAIT, AGAIN = int(FIRST_LOOK) + 1, int(SECOND_LOOK) + 1
LOST = SendOutcome(SendTrigger.LOSE, error="no answer")


class Line:
    """A ledger, and Twilio's REST side. Nobody calls statuses back."""

    def __init__(self, store: Store, clock: Clock, sim: Simulator) -> None:
        self.store = store
        self._clock = clock
        self.sim = sim
        self.url = ""
        self.told = Told()
        self.lists: Counter[str] = Counter()  # how often the list was read, by recipient
        self._messages = 0
        self._seen = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            self.lists[parse_qs(scope["query_string"].decode())["To"][0]] += 1
        await self.sim.rest(scope, receive, send)

    async def lose(self, *, accepted: bool, to: str = ANN, body: str = "hello") -> None:
        """Send a reply, whose answer is lost."""
        await self._send(to, body, accepted=accepted, heard=False)

    async def send(self, *, to: str = ANN, body: str = "hello") -> None:
        """Send a reply."""
        await self._send(to, body, accepted=True, heard=True)

    async def _send(self, to: str, body: str, *, accepted: bool, heard: bool) -> None:
        self._messages += 1
        await self.store.accept(inbound(f"SM{self._messages}", f"lane {to}"))
        one = await claim_one(self.store)
        reply = replace(draft(body=body), to=to, account_sid=CREDENTIALS.account_sid)
        await self.store.write(one, [reply])
        await self.store.settle(one, DONE)
        (claimed,) = (await self.store.claim_sends(1, lease=30, owner="w")).claims
        answer = (await create(self.url, To=to, Body=body)).json() if accepted else {}
        known = SendOutcome(SendTrigger.ACCEPT, sid=answer.get("sid", ""), status="queued")
        await self.store.settle_send(claimed, known if heard else LOST)

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, in the store and at Twilio."""
        for sent in self.sim.sent:
            self.sim._messaging.history.record(replace(sent, time=sent.time - seconds))
        await self._clock.advance(seconds)

    async def findings(self, count: int) -> list[Finding]:
        """Return so many findings, once there are as many since this was last asked."""
        start, self._seen = self._seen, self._seen + count
        await self.told.until(lambda: len(self.told.of(LookedUp)) >= self._seen)
        return [event.finding for event in self.told.of(LookedUp)[start : self._seen]]

    async def states(self) -> list[SendState]:
        """Return the states of all sends, in the order they were written."""
        records = await self.store.find(Filter(limit=1000))
        histories = [await self.store.show(record.id) for record in reversed(records)]
        return [send.state for history in histories if history for send in history.sends]


@asynccontextmanager
async def looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    """Look up what is due, at once."""
    for name, seconds in (("_EVERY", 0.01), ("_PAUSE", 0.0), ("_AFTER_FAILURE", 0.01)):
        monkeypatch.setattr(unknown_sends, name, seconds)
    url = f"sqlite:///{tmp_path}/offhook.db"
    async with (
        opened(url) as store,
        clock_of(url) as clock,
        simulator(**CREDENTIALS._asdict(), status_delay=3600.0) as sim,
    ):
        line = Line(store, clock, sim)
        async with serving(line, host="127.0.0.1", port=0) as line.url:
            settings = Settings.load(
                env_file=None,
                account_sid=CREDENTIALS.account_sid,
                auth_token=CREDENTIALS.auth_token,
                twilio_api=line.url,
            )
            task = asyncio.create_task(UnknownSends(store, settings, line.told).run())
            try:
                yield line
            finally:
                await cancel_and_wait(task)


async def test_what_twilio_has_is_sent_and_what_it_lacks_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(tmp_path, monkeypatch) as line:
        await line.lose(accepted=True)
        await line.lose(accepted=False, body="bye")
        await line.lose(accepted=False, to=BOB)
        await line.pass_time(WAIT)
        found = await line.findings(3)
        assert sorted(found) == [Finding.FOUND, Finding.MISSING, Finding.MISSING]
        assert line.lists == {ANN: 1, BOB: 1}, "what is unknown to one person is asked for at once"
        await line.pass_time(AGAIN)
        assert await line.findings(2) == [Finding.REPEAT] * 2
        assert await line.states() == [SendState.SENT, SendState.PENDING, SendState.PENDING]
        events = line.told.of(LookedUp)
        sid = line.sim.sent[0].sid
        assert {(one.trigger, one.sid) for one in events} == {
            (SendTrigger.CONFIRM, sid), (None, ""), (SendTrigger.REPEAT, "")
        }  # fmt: skip


async def test_a_list_that_cannot_be_read_is_reported_once_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(tmp_path, monkeypatch) as line:
        line.sim.trouble = Trouble(failing_pages=[0])
        await line.lose(accepted=True)
        await line.lose(accepted=False, to=BOB)
        for wait in (WAIT, AGAIN):
            await line.pass_time(wait)
            assert await line.findings(2) == [Finding.UNCERTAIN] * 2
        line.sim.trouble = Trouble()
        await line.pass_time(2 * AGAIN)
        assert sorted(await line.findings(2)) == [Finding.FOUND, Finding.MISSING]
        problems = [(one.topic, one.resolved) for one in line.told.of(Problem)]
        assert problems == [(Topic.MESSAGE_LIST, False), (Topic.MESSAGE_LIST, True)]
        (text, _) = [one.text for one in line.told.of(Problem)]
        assert "20500" in text
        assert await line.states() == [SendState.SENT, SendState.UNKNOWN]


async def test_a_list_that_lags_behind_what_twilio_has_answered_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(tmp_path, monkeypatch) as line:
        line.sim.trouble = Trouble(list_lag=3600.0)
        await line.lose(accepted=True)
        await line.send(body="what bears witness")
        for wait in (WAIT, AGAIN):
            await line.pass_time(wait)
            assert await line.findings(1) == [Finding.UNCERTAIN]
        line.sim.trouble = Trouble()
        await line.pass_time(2 * AGAIN)
        assert await line.findings(1) == [Finding.FOUND]


async def test_nothing_is_concluded_while_another_reply_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(tmp_path, monkeypatch) as line:
        await line.lose(accepted=False)
        await line.store.accept(inbound("SM9", f"lane {ANN}"))
        one = await claim_one(line.store)
        reply = replace(draft(), to=ANN, account_sid=CREDENTIALS.account_sid)
        await line.store.write(one, [reply])
        (claimed,) = (await line.store.claim_sends(1, lease=1e6, owner="w")).claims
        answer = await create(line.url, Body="hello")  # and the worker has not read it yet
        await line.pass_time(WAIT)
        assert await line.findings(1) == [Finding.UNCERTAIN]
        accepted = SendOutcome(SendTrigger.ACCEPT, sid=answer.json()["sid"], status="queued")
        await line.store.settle_send(claimed, accepted)
        await line.pass_time(AGAIN)
        assert await line.findings(1) == [Finding.MISSING]


async def test_they_are_left_alone_where_it_is_set_so(tmp_path: Path) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        settings = Settings.load(
            env_file=None, account_sid=CREDENTIALS.account_sid, unknown_sends="leave"
        )
        assert settings.unknown_sends is UnknownSendPolicy.LEAVE
        role = WorkerRole(settings, Handlers(), lambda _: None, owner="w")
        async with asyncio.timeout(60):
            await role._look_up(
                store, SettingsLogin(settings)
            )  # it would go on until the worker ends
