"""The watch over a machine, and whom it tells."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from offhook.alerts import Alert, AlertChange, AlertWatcher, Level, Transition, to_log
from offhook.alerts.webhook import SIGNATURE_HEADER, AlertWebhook
from offhook.core.lifecycle import State
from offhook.events import Event, Problem, Topic
from offhook.process.server import server_for, serving
from offhook.process.sockets import listen, url_of
from tests.alerts.support import ANSWERED, Machine

SECRET = "a secret of the operator's"
DEAD = Alert("dead-letters", Level.WARNING, 1.0, "given up: 1", "Replay them.", 1_000.0)


def watch(machine: Machine, told: list[Event]) -> AlertWatcher:
    async def look() -> object:
        raise NotImplementedError

    return AlertWatcher(look, [to_log(told.append)])  # type: ignore[arg-type]


def test_alerts_are_told_once_and_shown_as_long_as_they_last() -> None:
    machine, told = Machine(), list[Event]()
    watching = watch(machine, told)
    machine.set(State.DEAD, 2)
    for _ in range(20):
        watching.consider(machine.look(after=5.0))
    (alert,) = watching.alerts
    assert (alert.name, alert.level, alert.value) == ("dead-letters", Level.WARNING, 2.0)
    assert alert.since == 1_015.0
    (event,) = told
    assert isinstance(event, Problem)
    assert event.text.startswith("dead-letters (warning): dead messages: 2. Run offhook")

    machine.set(State.DEAD, 0)
    for _ in range(20):
        watching.consider(machine.look(after=5.0))
    assert watching.alerts == ()
    assert told[1:] == [Problem(Topic.ALERT, "dead-letters cleared", resolved=True)]


def test_what_can_not_be_looked_at_is_not_over() -> None:
    machine, told = Machine(), list[Event]()
    watching = watch(machine, told)
    machine.set(State.DEAD, 2)
    machine.spooled = 3
    for _ in range(20):
        watching.consider(machine.look(after=5.0))
    machine.counts = machine.spooled = None
    for _ in range(40):
        watching.consider(machine.look(after=5.0))
    names = {alert.name for alert in watching.alerts}
    assert names == {"dead-letters", "spool", "store-unavailable"}
    assert not [event for event in told if isinstance(event, Problem) and event.resolved]


def test_the_worst_comes_first_and_a_minute_is_kept() -> None:
    machine = Machine()
    watching = watch(machine, [])
    machine.set(State.DEAD, 2)
    watching.consider(machine.look())
    for _ in range(4):
        watching.consider(machine.look(after=5.0))
    machine.counts = None
    for _ in range(40):
        machine.tell(ANSWERED)
        watching.consider(machine.look(after=5.0))
    found = [alert.name for alert in watching.alerts]
    assert found == ["store-unavailable", "dead-letters"]
    assert 12 <= len(watching.snapshots) <= 14


class Receiver:
    """Somebody's server, which fails some times first."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.requests: list[tuple[bytes, str]] = []
        self.accepted = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.requests.append((await request.body(), request.headers[SIGNATURE_HEADER]))
        failed = len(self.requests) <= self._failures
        await Response(status_code=500 if failed else 204)(scope, receive, send)
        if not failed:
            self.accepted.set()


@asynccontextmanager
async def posting(
    receiver: Receiver, told: asyncio.Queue[Event], *, tries: int
) -> AsyncIterator[AlertWebhook]:
    with listen("127.0.0.1", 0) as listener:
        server = server_for(receiver, drain=1.0, lifespan="off")
        async with serving(server, listener):
            url = f"{url_of(listener)}/alerts?token=hidden"
            pauses = (0.01,) * (tries - 1)
            webhook = AlertWebhook(url, SECRET, told.put_nowait, pauses=pauses)
            running = asyncio.create_task(webhook.run())
            try:
                yield webhook
            finally:
                running.cancel()


async def test_what_is_posted_is_signed_and_repeated_until_it_arrives() -> None:
    receiver, told = Receiver(failures=2), asyncio.Queue[Event]()
    async with posting(receiver, told, tries=5) as webhook, asyncio.timeout(60):
        webhook(AlertChange(Transition.RAISED, DEAD))
        await receiver.accepted.wait()
    bodies = {body for body, _ in receiver.requests}
    assert len(receiver.requests) == 3
    (body,) = bodies
    payload = json.loads(body)
    assert payload.pop("id")
    assert payload.pop("machine")
    assert payload == {
        "stage": "raised", "name": "dead-letters", "level": "warning", "value": 1.0,
        "text": "given up: 1", "remedy": "Replay them.", "since": 1_000.0,
    }  # fmt: skip
    for _, header in receiver.requests:
        at, mac = (part.partition("=")[2] for part in header.split(","))
        expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256)
        assert mac == expected.hexdigest()
    assert told.empty()


async def test_what_can_not_be_delivered_is_told_without_the_url_and_the_next_is_tried() -> None:
    receiver, told = Receiver(failures=3), asyncio.Queue[Event]()
    async with posting(receiver, told, tries=3) as webhook, asyncio.timeout(60):
        webhook(AlertChange(Transition.RAISED, DEAD))
        webhook(AlertChange(Transition.CLEARED, DEAD))
        failed, again = await told.get(), await told.get()
    assert [json.loads(body)["stage"] for body, _ in receiver.requests][-1] == "cleared"
    assert isinstance(failed, Problem)
    assert failed.text.endswith("OFFHOOK_ALERT_WEBHOOK: it answered 500")
    assert again == Problem(Topic.ALERT_WEBHOOK, "alerts are delivered again", resolved=True)


async def test_a_url_that_leads_nowhere_is_a_failed_try() -> None:
    async def _posted(url: str, told: asyncio.Queue[Event]) -> None:
        webhook = AlertWebhook(url, SECRET, told.put_nowait, pauses=())
        webhook(AlertChange(Transition.RAISED, DEAD))
        await webhook.run()

    told = asyncio.Queue[Event]()
    url = "http://127.0.0.1:99999/?token=hidden"
    running = asyncio.create_task(_posted(url, told))
    async with asyncio.timeout(60):
        event = await told.get()
    assert not running.done()
    running.cancel()
    assert isinstance(event, Problem)
    assert "could not be delivered" in event.text
    assert "hidden" not in event.text


async def test_a_receiver_that_is_away_raises_nothing() -> None:
    told = asyncio.Queue[Event]()
    with listen("127.0.0.1", 0) as listener:
        url = url_of(listener)
    webhook = AlertWebhook(f"{url}/?token=hidden", SECRET, told.put_nowait, pauses=())
    running = asyncio.create_task(webhook.run())
    webhook(AlertChange(Transition.RAISED, DEAD))
    async with asyncio.timeout(60):
        event = await told.get()
    running.cancel()
    assert "ClientConnectorError" in str(event)
    assert "hidden" not in str(event)
