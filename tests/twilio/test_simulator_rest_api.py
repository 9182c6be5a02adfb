import asyncio
import re
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest

from offhook.twilio.simulator import (
    Credentials,
    Event,
    Said,
    Simulator,
    Trouble,
)
from testing.plain_http import PlainAsyncClient
from testing.twilio.helpers import (
    Requested,
    Webhook,
)
from testing.twilio.line import (
    CREDENTIALS,
    PERSON,
    create,
    on_the_line,
    valid,
)


async def test_a_created_message_is_shown_as_twilio_shows_it() -> None:
    async with (
        on_the_line() as (sim, _),
        sim.serve() as url,
        PlainAsyncClient(auth=CREDENTIALS) as client,
    ):
        created = await create(url, MediaUrl=["https://m/1", "https://m/2"])
        assert created.status_code == 201
        shown = created.json()
        assert re.fullmatch(r"MM[0-9a-f]{32}", shown["sid"])
        assert (shown["num_media"], shown["num_segments"]) == ("2", "1")
        assert (shown["status"], shown["direction"]) == ("queued", "outbound-api")
        assert (shown["error_code"], shown["messaging_service_sid"]) == (None, None)
        assert parsedate_to_datetime(shown["date_created"]).utcoffset() is not None
        await sim.wait_for(lambda sent: sent.status == "delivered")
        fetched = (await client.get(f"{url}{shown['uri']}")).json()
        assert fetched["status"] == "delivered"
        assert {name for name in shown if shown[name] != fetched[name]} == {
            "status",
            "date_sent",
        }
        missing = await client.get(f"{url}{shown['uri'].replace('MM', 'SM')}")
        assert (missing.status_code, missing.json()["code"]) == (404, 20404)


REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"To": None}, 21604),
    ({"From": None}, 21603),
    ({"To": "12345"}, 21265),
    ({"To": "AMAZON"}, 21211),
    ({"To": "whatsapp:nobody"}, 21211),
    ({"To": "whatsapp:15551230001"}, 21211),
    ({"To": "rcs:"}, 21211),
    ({"From": "54321"}, 21659),
    ({"From": "more than eleven"}, 21659),
    ({"From": "+15005559999"}, 21659),
    ({"From": "whatsapp:+15005559999", "To": f"whatsapp:{PERSON}"}, 63007),
    ({"Body": None}, 21602),
    ({"Body": "a" * 1601}, 21617),
    ({"MediaUrl": ["https://m/1"] * 11}, 21623),
    ({"StatusCallback": "/twilio/status"}, 21609),
    ({"StatusCallback": "https://my_bot.example/"}, 21609),
    ({"StatusCallback": "https://bot.example/#rc=9"}, 21609),
]


TAKEN: list[dict[str, Any]] = [
    {"To": "whatsapp:ID.4566546130240000", "From": "whatsapp:+15005550006"},
    {"To": "whatsapp:US.13491208655302741918", "From": "whatsapp:+15005550006"},
    {"To": f"rcs:{PERSON}", "From": "rcs:+15005550006"},
    {"To": "messenger:1234567890", "From": "messenger:+15005550006"},
    {"From": "My Brand"},
]


async def test_every_address_that_twilio_takes_is_taken() -> None:
    async with on_the_line() as (sim, _), sim.serve() as url:
        for fields in TAKEN:
            assert (await create(url, **fields)).status_code == 201, fields


async def test_what_twilio_refuses_is_refused() -> None:
    async with on_the_line() as (sim, _):
        async with sim.serve() as url:
            for fields, code in REFUSALS:
                refused = await create(url, **fields)
                assert refused.status_code == 400
                assert refused.json() == {
                    "code": code,
                    "message": refused.json()["message"],
                    "more_info": f"https://www.twilio.com/docs/errors/{code}",
                    "status": 400,
                }
        assert sim.sent == ()


async def test_strangers_cannot_send() -> None:
    async with on_the_line() as (sim, _):
        async with sim.serve() as url:
            refused = await create(url, Credentials(CREDENTIALS.account_sid, "f" * 32))
            assert (refused.status_code, refused.json()["code"]) == (401, 20003)
        assert sim.sent == ()


async def test_a_stop_blocks_sends_until_a_start() -> None:
    async with on_the_line() as (sim, webhook), sim.serve() as url:
        assert (await sim.text(" Stop ")).status == 200
        refused = await create(url)
        assert (refused.status_code, refused.json()["code"]) == (400, 21610)
        assert (await create(url, To="+15551230002")).status_code == 201
        await sim.text("start")
        assert (await create(url)).status_code == 201
    assert [request.form.get("Body") for request in webhook.requests] == [" Stop ", "start"]


async def test_a_person_who_has_opted_out_hears_nothing_from_the_webhooks_answer() -> None:
    answer = b"<Response><Message>Bye</Message></Response>"
    async with on_the_line(Webhook(answers=[(200, "text/xml", answer)])) as (sim, _):
        assert (await sim.text("STOP")).said == (Said("Bye"),)
        assert sim.sent == ()


async def test_an_answer_can_be_lost_after_the_message_was_accepted() -> None:
    async with on_the_line(trouble=Trouble(lost_answers=1.0)) as (sim, _), sim.serve() as url:
        with pytest.raises(httpx2.RemoteProtocolError):
            await create(url)
        assert [sent.body for sent in sim.sent] == ["hello"]
        sim.trouble = replace(sim.trouble, lost_answers=0.0)
        assert (await create(url)).status_code == 201


async def test_a_message_can_be_accepted_and_answered_with_an_error() -> None:
    async with on_the_line(trouble=Trouble(server_errors=1.0)) as (sim, _):
        async with sim.serve() as url:
            assert (await create(url)).status_code == 500
        assert [sent.body for sent in sim.sent] == ["hello"]


async def test_too_many_requests_are_not_accepted() -> None:
    async with on_the_line(trouble=Trouble(rate_limited=1.0, retry_after=3)) as (sim, _):
        async with sim.serve() as url:
            refused = await create(url)
        assert (refused.status_code, refused.json()["code"]) == (429, 20429)
        assert refused.headers["retry-after"] == "3"
        assert sim.sent == ()


async def test_trouble_strikes_its_share() -> None:
    async with on_the_line(trouble=Trouble(rate_limited=0.5), seed=1) as (sim, _):
        async with sim.serve() as url:
            codes = [(await create(url)).status_code for _ in range(20)]
        assert set(codes) == {201, 429}
        assert codes.count(201) == len(sim.sent)


async def test_an_answer_can_be_slow() -> None:
    async with on_the_line(trouble=Trouble(answer_delay=2.0)) as (sim, _), sim.serve() as url:
        creating = asyncio.create_task(create(url))
        await sim.wait_for(lambda sent: sent.status == "delivered")
        assert not creating.done()
        assert (await creating).status_code == 201


async def reported(sim: Simulator, webhook: Webhook, **fields: Any) -> list[Requested]:
    """Send a message with a status callback; return the callbacks when all are answered."""
    events: asyncio.Queue[Event] = asyncio.Queue()
    callback = sim.webhook_url.replace("messages", "status") + "?send=7&x=%20a"
    async with sim.serve() as url:
        with sim.listening(events.put_nowait):
            assert (await create(url, StatusCallback=callback, **fields)).status_code == 201
            last = await sim.wait_for(lambda sent: sent.status in {"delivered", "failed", "read"})
            while len(sim.callbacks) < len(last.statuses) - 1:
                await events.get()
    return webhook.requests


def statuses(requests: list[Requested]) -> list[str]:
    return [request.form.get("MessageStatus") for request in requests]


async def test_statuses_are_called_back_in_order_and_signed_with_the_query() -> None:
    async with on_the_line(Webhook(answers=[(204, "text/plain", b"")])) as (sim, webhook):
        requests = await reported(sim, webhook)
        assert statuses(requests) == ["sent", "delivered"]
        assert all(request.target == "/twilio/status?send=7&x=%20a" for request in requests)
        assert all(map(valid, requests))
        assert {request.headers["content-type"] for request in requests} == {
            "application/x-www-form-urlencoded; charset=utf-8"
        }
        assert [request.form.get("MessageSid") for request in requests] == [sim.sent[0].sid] * 2
        assert re.fullmatch(r"\d{10}", requests[1].form.get("RawDlrDoneDate"))
        assert sim.sent[0].statuses == ("queued", "sent", "delivered")
        assert [callback.answered for callback in sim.callbacks] == [204, 204]


async def test_a_messaging_service_reports_queued_too() -> None:
    async with on_the_line() as (sim, webhook):
        service = "MG" + "7" * 32
        requests = await reported(sim, webhook, From=None, MessagingServiceSid=service)
        assert statuses(requests) == ["queued", "sent", "delivered"]
        assert requests[0].form.get("MessagingServiceSid") == service


async def test_whatsapp_messages_are_read() -> None:
    async with on_the_line() as (sim, webhook):
        from_ = "whatsapp:+15005550006"
        async with sim.serve() as url:
            callback = sim.webhook_url.replace("messages", "status")
            await create(url, StatusCallback=callback, To=f"whatsapp:{PERSON}", From=from_)
            last = await sim.wait_for(lambda sent: sent.status == "read")
        assert last.statuses == ("queued", "sent", "delivered", "read")
        assert webhook.requests[0].form.get("ChannelToAddress") == "+1555123XXXX"
        assert not webhook.requests[0].form.get("RawDlrDoneDate")


async def test_messages_to_some_numbers_fail() -> None:
    async with on_the_line(trouble=Trouble(failed={PERSON: 30001})) as (sim, webhook):
        requests = await reported(sim, webhook)
        assert statuses(requests) == ["failed"]
        assert requests[0].form.get("ErrorCode") == "30001"
        assert sim.sent[0].error_code == "30001"


async def test_messages_to_some_numbers_are_not_delivered() -> None:
    async with on_the_line(trouble=Trouble(undelivered={PERSON: 30003})) as (sim, _):
        async with sim.serve() as url:
            await create(url)
            sent = await sim.wait_for(lambda sent: sent.status == "undelivered")
        assert (sent.statuses, sent.error_code) == (("queued", "sent", "undelivered"), "30003")


@pytest.mark.parametrize(
    ("window", "heard", "more", "status"),
    [
        (86_400.0, True, {}, "read"),
        (86_400.0, False, {}, "undelivered"),
        (0.0, True, {}, "undelivered"),
        (0.0, True, {"ContentSid": f"HX{'0' * 32}"}, "read"),
    ],
)
async def test_whatsapp_delivers_texts_in_its_window_only_and_templates_always(
    window: float, more: dict[str, Any], status: str, *, heard: bool
) -> None:
    async with on_the_line(trouble=Trouble(whatsapp_window=window)) as (sim, _):
        async with sim.serve() as url:
            if heard:
                await sim.text("hello", from_=PERSON, channel="whatsapp")
            both: dict[str, Any] = {"To": f"whatsapp:{PERSON}", "From": f"whatsapp:{sim.number}"}
            assert (await create(url, **both, **more)).status_code == 201
            sent = await sim.wait_for(lambda sent: sent.status in {"read", "undelivered"})
        assert (sent.status, sent.error_code == "63016") == (status, status == "undelivered")


async def test_status_callbacks_can_come_twice() -> None:
    async with on_the_line(trouble=Trouble(duplicates=1)) as (sim, webhook):
        await reported(sim, webhook)
        await webhook.received(4)
        assert statuses(webhook.requests) == ["sent", "sent", "delivered", "delivered"]


async def test_statuses_can_come_last_first() -> None:
    async with on_the_line(trouble=Trouble(reorder_statuses=True)) as (sim, webhook):
        assert statuses(await reported(sim, webhook)) == ["delivered", "sent"]
        assert sim.sent[0].status == "delivered"


async def test_a_status_can_come_before_the_rest_answer() -> None:
    trouble = Trouble(early_status=True)
    served = Webhook(gate=asyncio.Event())
    async with on_the_line(served, trouble=trouble) as (sim, webhook), sim.serve() as url:
        callback = sim.webhook_url.replace("messages", "status")
        creating = asyncio.create_task(create(url, StatusCallback=callback))
        await webhook.received(1)
        assert not creating.done()
        webhook.open()
        assert (await creating).json()["status"] == "queued"
