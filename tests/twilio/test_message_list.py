"""Twilio's message list, read from the simulator's over a socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offhook.core.unknown_sends import Listed
from offhook.errors import TwilioError
from offhook.settings import Settings
from offhook.twilio import message_list
from offhook.twilio.client import TwilioClient
from offhook.twilio.message_list import list_messages
from offhook.twilio.simulator import Simulator, Trouble
from testing.plain_http import PlainAsyncClient
from testing.twilio.helpers import answering, http, raw_server
from testing.twilio.line import CREDENTIALS, PERSON, create, on_the_line

OURS, OTHER, SERVICE = "+15005550006", "+15551239999", "MG" + "0" * 32
ACCOUNT = CREDENTIALS.account_sid


def client_of(url: str) -> TwilioClient:
    return TwilioClient(
        Settings.load(
            env_file=None,
            account_sid=ACCOUNT,
            auth_token=CREDENTIALS.auth_token,
            twilio_api=url,
        )
    )


@asynccontextmanager
async def connected(**given: Any) -> AsyncIterator[tuple[Simulator, str, TwilioClient]]:
    async with (
        on_the_line(**given) as (sim, _),
        sim.serve() as url,
        client_of(url) as client,
    ):
        yield sim, url, client


async def listing(client: TwilioClient) -> list[Listed]:
    listed = await list_messages(client, ACCOUNT, PERSON)
    assert listed is not None
    return listed


async def test_a_persons_messages_are_listed_as_twilio_has_them() -> None:
    async with connected(status_delay=60.0) as (sim, url, client):
        await create(url, Body="hello \N{WAVING HAND SIGN}")
        await create(url, Body="", MediaUrl=["https://m/1", "https://m/2"], From=None,
                     MessagingServiceSid=SERVICE)  # fmt: skip
        await create(url, To=OTHER)
        listed = {one.sid: one for one in await listing(client)}
        text, pictures, _ = sim.sent
        assert listed.keys() == {text.sid, pictures.sid}
        found = listed[text.sid]
        assert -5 <= found.age < 60  # the server renews its `Date` once a second
        assert found == Listed(
            text.sid, PERSON, OURS, "", "hello \N{WAVING HAND SIGN}", 0, found.age, "queued"
        )
        found = listed[pictures.sid]
        assert found == Listed(pictures.sid, PERSON, "", SERVICE, "", 2, found.age, "accepted")


async def test_what_failed_has_its_code() -> None:
    trouble = Trouble(failed={PERSON: 30006})
    async with connected(trouble=trouble) as (sim, url, client):
        await create(url)
        await sim.wait_for(lambda sent: sent.status == "failed")
        (found,) = await listing(client)
        assert (found.status, found.error_code) == ("failed", "30006")


async def test_a_list_is_read_to_its_end() -> None:
    async with connected(status_delay=60.0) as (sim, url, client):
        for number in range(101):
            await create(url, Body=str(number))
        listed = await listing(client)
        assert sorted(int(one.body) for one in listed) == list(range(101))
        sim.trouble = Trouble(failing_pages=[1])
        with pytest.raises(TwilioError, match="20500"):
            await listing(client)


async def test_a_list_that_is_too_long_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_list, "MAX_MESSAGES", 2)
    async with connected() as (_, url, client):
        for _ in range(2):
            await create(url)
        assert len(await listing(client)) == 2
        await create(url)
        assert await list_messages(client, ACCOUNT, PERSON) is None


async def test_a_message_comes_late_into_a_list_that_lags() -> None:
    async with connected(trouble=Trouble(list_lag=60.0)) as (sim, url, client):
        await create(url)
        assert await listing(client) == []
        sim.trouble = Trouble()
        assert len(await listing(client)) == 1


RECORD = {
    "sid": "SM" + "0" * 32, "to": PERSON, "from": OURS, "body": "hello", "num_media": "0",
    "date_created": "Mon, 30 Nov 2026 11:58:20 +0000", "direction": "outbound-api",
    "status": "sent", "error_code": None, "messaging_service_sid": None,
}  # fmt: skip
DATE = "Date: Mon, 30 Nov 2026 12:00:00 GMT"


def page(*records: object, **more: object) -> bytes:
    return json.dumps({"messages": records, **more}).encode()


async def test_ages_are_by_twilios_clock() -> None:
    async with (
        raw_server(answering(http(200, page(RECORD), DATE))) as url,
        client_of(url) as client,
    ):
        (found,) = await listing(client)
        assert found.age == 100


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (page(RECORD), ()),
        (page(RECORD), ("Date: yesterday",)),
        (page({**RECORD, "sid": "SM1"}), (DATE,)),
        (page({**RECORD, "date_created": None}), (DATE,)),
        (page({**RECORD, "date_created": "soon"}), (DATE,)),
        (b"{}", (DATE,)),
        (b'{"messages": {}}', (DATE,)),
        (page(RECORD, next_page_uri="https://elsewhere.example/"), (DATE,)),
        (page(RECORD)[:-5], (DATE,)),
    ],
)
async def test_a_list_that_cannot_be_read_proves_nothing(
    body: bytes, headers: tuple[str, ...]
) -> None:
    async with raw_server(answering(http(200, body, *headers))) as url, client_of(url) as client:
        with pytest.raises(TwilioError):
            await listing(client)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"a", "b"}),
        ({"To": PERSON}, {"a"}),
        ({"From": OURS}, {"a", "b"}),
        ({"From": OTHER}, set()),
        ({"DateSent>": "{today}"}, {"a"}),
        ({"DateSent<": "{yesterday}"}, set()),
        ({"DateSent": "{today}"}, {"a"}),
    ],
)
async def test_the_simulators_list_has_twilios_filters(
    query: dict[str, str], found: set[str]
) -> None:
    async with connected() as (sim, url, _):
        await create(url, Body="a")
        await sim.wait_for(lambda sent: sent.status == "delivered")
        sim._messaging._status_delay = 60.0
        await create(url, Body="b", To=OTHER)  # stays queued: it has no date of sending
        today = datetime.fromtimestamp(sim.sent[0].time, UTC).date()
        days = {"today": str(today), "yesterday": str(today - timedelta(days=1))}
        async with PlainAsyncClient(auth=CREDENTIALS) as client:
            answer = await client.get(
                f"{url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
                params={name: value.format(**days) for name, value in query.items()},
            )
        assert {one["body"] for one in answer.json()["messages"]} == found


async def test_the_simulators_list_is_for_its_account_alone() -> None:
    async with connected() as (_, _url, client):
        with pytest.raises(TwilioError):
            await list_messages(client, "AC" + "0" * 32, PERSON)
