"""Whoever answers, as a proxy or at a mistaken URL: nothing is believed without bounds."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from offhook.alerts.evaluation import Alert, AlertChange, Transition
from offhook.alerts.rules import Level
from offhook.alerts.webhook import AlertWebhook
from offhook.core.lifecycle import SendTrigger
from offhook.doctor import public_url
from offhook.errors import TwilioError
from offhook.events import Event
from offhook.http_session import MAX_BYTES, open_session, timeouts
from offhook.twilio.client import TwilioClient
from offhook.twilio.simulator import Simulator
from testing.twilio.helpers import Handler, answering, http, raw_server, read_request
from tests.twilio.test_sender import claim, send_once, settings

MUCH = 10_000_000
BOMB = gzip.compress(b" " * 20_000_000)
PATIENCE = 60.0
SID = "SM" + "0" * 32


class Endless:
    """Answers with a body, or a head, that goes on for ever; counts what was taken of it."""

    def __init__(self, head: bytes, part: bytes) -> None:
        self.head, self.part = head, part
        self.taken = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(self.head)
        while not writer.is_closing():
            writer.write(self.part)
            try:
                await writer.drain()
            except (ConnectionError, asyncio.CancelledError):
                return
            self.taken += len(self.part)


def endless_body(status: int = 201) -> Endless:
    part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    return Endless(f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), part)


def endless_head() -> Endless:
    return Endless(b"HTTP/1.1 201 X\r\n", b"A: " + b"b" * 60_000 + b"\r\n")


async def sends(url: str) -> str:
    return (await send_once(url, claim())).trigger


async def looks(url: str) -> str:
    async with TwilioClient(settings(url)) as rest:
        with pytest.raises(TwilioError) as refused:
            await rest.get("api", "/anything.json")
    assert len(str(refused.value)) < 1000
    return "TwilioError"


async def lists(url: str) -> str:
    async with TwilioClient(settings(url)) as rest:
        with pytest.raises(TwilioError):
            _ = [one async for one in rest.all("api", "/anything.json", "things")]
    return "TwilioError"


async def diagnoses(url: str) -> str:
    (finding,) = await public_url.webhook(settings(url, public_url=url))
    assert len(finding.text) < 1000
    return finding.severity


async def alerts(url: str) -> str:
    told: list[Event] = []
    webhook = AlertWebhook(url, "secret", told.append, pauses=())
    change = AlertChange(
        Transition.RAISED, Alert("disk", Level.WARNING, 0.9, "text", "remedy", 0.0)
    )
    async with open_session(timeouts(connect=PATIENCE, read=PATIENCE)) as session:
        return await webhook._post(session, json.dumps(change.stage).encode())


async def simulates(url: str) -> str:
    account = Simulator.credentials()
    async with Simulator(**account._asdict(), webhook_url=url) as simulator:
        delivered = await simulator.text("hello")
    return str(delivered.error)


CLIENTS = [sends, looks, lists, diagnoses, alerts, simulates]


def asked(client: Callable[[str], Awaitable[str]], handler: Handler) -> str:
    async def main() -> str:
        async with raw_server(handler) as url, asyncio.timeout(PATIENCE):
            return await client(url)

    return asyncio.run(main())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("endless", [endless_body, endless_head])
def test_an_answer_without_an_end_is_not_read_to_its_end(
    client: Callable[[str], Awaitable[str]], endless: Callable[[], Endless]
) -> None:
    server = endless()
    asked(client, server)
    assert server.taken < MUCH


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"sid":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"sid": ' + b"9" * 50_000 + b"}",
        json.dumps({"sid": "SM" + "0" * MUCH, "status": "queued"}).encode(),
        json.dumps({"sid": "SM" + "0" * 50_000}).encode(),
        b'{"sid": "SM\\ud83d"}',
        b'{"sid": "%s\\ud83d"}' % SID.encode(),
        b'{"sid": ["%s"]}' % SID.encode(),
        b'{"sid": "XX"}',
        b"\xff\xfe",
    ],
    ids=lambda body: f"{len(body)} bytes: {body[:20]!r}",  # each process tells of all of them
)
async def test_what_has_no_sid_of_twilios_may_have_been_sent(body: bytes) -> None:
    async with raw_server(answering(http(201, body))) as url:
        outcome = await send_once(url, claim())
    assert (outcome.trigger, outcome.sid) == (SendTrigger.LOSE, "")
    assert len(outcome.error) < 1000
    outcome.error.encode()


@pytest.mark.parametrize(
    ("status", "kept"),
    [("queued", "queued"), ("x" * 60, ""), ("\ud83d", ""), (["queued"], ""), (None, ""), (1, "")],
)
async def test_a_status_is_one_of_twilios(status: Any, kept: str) -> None:
    body = json.dumps({"sid": SID, "status": status}).encode()
    async with raw_server(answering(http(201, body))) as url:
        outcome = await send_once(url, claim())
    assert (outcome.trigger, outcome.sid, outcome.status) == (SendTrigger.ACCEPT, SID, kept)


@pytest.mark.parametrize(
    ("code", "kept"),
    [(21610, "21610"), (True, ""), (-1, ""), (10**12, ""), ("21610", ""), ([1], ""), (1.5, "")],
)
async def test_a_code_is_a_small_number(code: Any, kept: str) -> None:
    body = json.dumps({"code": code, "message": "no\ud83d" + "x" * 20_000}).encode()
    async with raw_server(answering(http(400, body))) as url:
        outcome = await send_once(url, claim())
    assert (outcome.trigger, outcome.error_code) == (SendTrigger.REFUSE, kept)
    assert len(outcome.error) <= 2048
    outcome.error.encode()


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_compressed_a_thousandfold_is_not_unpacked(
    client: Callable[[str], Awaitable[str]],
) -> None:
    assert len(BOMB) < MAX_BYTES
    asked(client, answering(http(200, BOMB, "Content-Encoding: gzip")))


def test_a_webhook_whose_answer_is_too_long_has_twilios_error() -> None:
    assert asked(simulates, endless_body(200)) == "11750"
    assert (
        asked(simulates, answering(http(200, b" " * 70_000, "Content-Type: text/xml"))) == "11750"
    )
