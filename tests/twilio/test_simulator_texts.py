import asyncio
import re
from typing import Any

import pytest

from offhook import Media
from offhook.core.messages import Attachment, Button, Location
from offhook.twilio.simulator import (
    Said,
    Trouble,
)
from offhook.twilio.simulator.payloads import Text, inbound
from offhook.twilio.simulator.twiml import TwimlResult, parse_twiml
from offhook.worker.message import Message
from testing.twilio.helpers import (
    Webhook,
)
from testing.twilio.line import (
    PERSON,
    TWO_MESSAGES,
    on_the_line,
    valid,
)


async def test_a_text_is_posted_as_it_was_captured() -> None:
    async with on_the_line(messaging_service_sid="MG" + "1" * 32) as (sim, webhook):
        delivered = await sim.text("Hällo & hi +1", from_=PERSON)
        assert (delivered.status, delivered.error, delivered.attempts) == (200, None, 1)
        assert delivered.ok
        assert 0 < delivered.seconds < 60
    (request,) = webhook.requests
    assert " ".join(name for name, _ in request.form.fields) == (
        "ToCountry ToState SmsMessageSid NumMedia ToCity FromZip SmsSid FromState SmsStatus "
        "FromCity Body FromCountry To MessagingServiceSid ToZip NumSegments MessageSid AccountSid "
        "From ApiVersion"
    )
    assert request.form.get("Body") == "Hällo & hi +1"
    assert b"Body=H%C3%A4llo+%26+hi+%2B1&" in request.body
    assert request.headers["user-agent"] == "TwilioProxy/1.1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["connection"] == "close"
    assert request.headers["accept"] == "*/*"
    assert request.headers["x-home-region"] == "us1"
    assert re.fullmatch(r"[0-9a-f-]{36}", request.headers["i-twilio-idempotency-token"])
    assert re.fullmatch(r"SM[0-9a-f]{32}", request.form.get("MessageSid"))
    assert valid(request)


async def test_a_wrong_token_is_told_from_the_right_one() -> None:
    async with on_the_line() as (sim, webhook):
        await sim.text("hi")
    (request,) = webhook.requests
    assert not valid(request, token="f" * 32)


async def test_a_whatsapp_text_is_posted_as_it_was_captured() -> None:
    async with on_the_line() as (sim, webhook):
        await sim.text("hi", channel="whatsapp", profile_name="Ada Ä")
    (request,) = webhook.requests
    assert " ".join(name for name, _ in request.form.fields) == (
        "ExternalUserId SmsMessageSid NumMedia ProfileName MessageType SmsSid WaId SmsStatus Body "
        "To NumSegments ReferralNumMedia MessageSid AccountSid ChannelMetadata From ApiVersion"
    )
    assert request.form.get("From") == f"whatsapp:{PERSON}"
    assert request.form.get("To") == "whatsapp:+15005550006"
    assert request.form.get("MessageType") == "text"
    assert valid(request)


@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
async def test_media_buttons_and_places_arrive_as_a_message_reads_them(channel: Any) -> None:
    async with on_the_line() as (sim, webhook):
        media = ("https://m.example/cat.png", Attachment("https://m.example/2", "text/vcard"))
        await sim.text("look", media=media, channel=channel)
        await sim.text(channel=channel, button=Button("Yes", "yes-1"))
        await sim.text(channel=channel, location=Location(-23.5, 46.25, "Home", "Street 1"))
    picture, button, place = (
        Message.parse(dict(request.form.fields)) for request in webhook.requests
    )
    assert all(map(valid, webhook.requests))
    assert picture.sid.startswith("MM")
    assert picture.media == (
        Media("https://m.example/cat.png", "image/png"),
        Media("https://m.example/2", "text/vcard"),
    )
    whatsapp = channel == "whatsapp"
    assert button.button == (Button("Yes", "yes-1") if whatsapp else None)
    expected = Location(-23.5, 46.25, "Home", "Street 1")
    assert place.location == (expected if whatsapp else None)


async def test_parameters_can_be_added_and_changed() -> None:
    async with on_the_line() as (sim, webhook):
        await sim.text("hi", extra={"OptOutType": "STOP", "FromCity": "PARIS"})
        assert sim.opted_out == {PERSON}
    (request,) = webhook.requests
    assert request.form.get("OptOutType") == "STOP"
    assert request.form.get("FromCity") == "PARIS"
    assert valid(request)


async def test_a_seed_repeats_a_run() -> None:
    async def bodies() -> list[bytes]:
        async with on_the_line(seed=4) as (sim, webhook):
            await sim.text("one")
            await sim.text("two")
        return [request.body for request in webhook.requests]

    assert await bodies() == await bodies()
    assert len(set(await bodies())) == 2


def test_segments_are_counted_as_a_carrier_does() -> None:
    text = Text("SM1", "AC1", "+15551230001", "+15005550006", body="€" * 81)
    assert dict(inbound(text))["NumSegments"] == "2"


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_webhook_can_be_delivered_many_times(*, at_once: bool) -> None:
    trouble = Trouble(duplicates=2, duplicates_at_once=at_once)
    async with on_the_line(trouble=trouble) as (sim, webhook):
        delivered = await sim.text("hi")
        assert delivered.repeats == (200, 200)
        assert delivered.attempts == 1
    assert len(webhook.requests) == 3
    assert len({request.body for request in webhook.requests}) == 1
    assert len({request.signature for request in webhook.requests}) == 1


async def test_one_text_can_be_delivered_more_often_than_others() -> None:
    async with on_the_line(trouble=Trouble(duplicates=1)) as (sim, webhook):
        assert (await sim.text("once", duplicates=0)).repeats == ()
        assert (await sim.text("four times", duplicates=3)).repeats == (200, 200, 200)
    assert len(webhook.requests) == 5


async def test_duplicates_at_once_are_all_under_way_together() -> None:
    trouble = Trouble(duplicates=2, duplicates_at_once=True)
    async with on_the_line(Webhook(gate=asyncio.Event()), trouble=trouble) as (sim, served):
        texting = asyncio.create_task(sim.text("hi"))
        await served.received(3)
        assert not texting.done()
        served.open()
        assert (await texting).repeats == (200, 200)


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("text/xml", b"<Response/>", ()),
        ("text/xml", b"", ()),
        ("text/xml; charset=utf-8", b"<Response><Message>Hi</Message></Response>", (Said("Hi"),)),
        (
            "application/xml",
            TWO_MESSAGES,
            (Said("a", ("https://m/1",), "+15551239999"), Said("b")),
        ),
        ("text/plain", b"OK", (Said("OK"),)),
    ],
)
def test_an_answer_is_read_as_twilio_reads_it(
    kind: str, content: bytes, said: tuple[Said, ...]
) -> None:
    assert parse_twiml(kind, content) == TwimlResult(said)


@pytest.mark.parametrize(
    ("kind", "content", "error"),
    [
        ("text/xml", b"<Response>", 12100),
        ("text/xml", b"<Reply/>", 12102),
        ("text/xml", b'<?xml version="1.0" encoding="nonsense"?><Response/>', 12100),
        ("application/json", b"{}", 12300),
        ("", b"<Response/>", 12300),
        ("text/xml", b"<Response>" + b" " * 65536 + b"</Response>", 11750),
        ("text/xml", b"<Response>" + b"<Message>a</Message>" * 11 + b"</Response>", 14109),
    ],
)
def test_an_answer_that_twilio_cannot_use_is_an_error(
    kind: str, content: bytes, error: int
) -> None:
    assert parse_twiml(kind, content).error == error


@pytest.mark.parametrize(
    ("kind", "content", "messages"),
    [
        (
            "text/xml",
            TWO_MESSAGES,
            [("a", ("https://m/1",), "+15551239999"), ("b", (), PERSON)],
        ),
        ("text/plain", b"OK", [("OK", (), PERSON)]),
        ("application/json", b'"OK"', []),
    ],
)
async def test_what_an_answer_says_is_sent_to_the_person(
    kind: str, content: bytes, messages: list[tuple[str, tuple[str, ...], str]]
) -> None:
    async with on_the_line(Webhook(answers=[(200, kind, content)])) as (sim, _):
        delivered = await sim.text("hi")
        assert delivered.ok == bool(messages)
        assert len(delivered.said) == len(messages)
        assert [(sent.body, sent.media, sent.to) for sent in sim.sent] == messages
        assert all(sent.inline for sent in sim.sent)
