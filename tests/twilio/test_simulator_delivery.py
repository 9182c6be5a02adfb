"""What happened on the line can be looked at, request by request."""

import asyncio
import json

import httpx2
import pytest

from offhook.twilio.simulator import (
    Delivered,
    Event,
    RestCall,
    Simulator,
    StatusCallback,
    Texted,
    Trouble,
)
from testing.twilio.helpers import Webhook
from testing.twilio.line import CREDENTIALS, FAILED, OK, PERSON, create, on_the_line


async def test_a_text_is_told_before_its_webhook_is_answered() -> None:
    served = Webhook(gate=asyncio.Event())

    async with on_the_line(served) as (sim, webhook):
        heard: list[Event] = []
        with sim.listening(heard.append):
            texting = asyncio.create_task(sim.text("hi"))
            await webhook.received(1)
            (told,) = heard
            webhook.open()
            delivered = await texting
        assert isinstance(told, Texted)
        assert (told.sid, told.from_) == (delivered.sid, PERSON)
        assert told.params == webhook.requests[0].form.fields


async def test_each_request_is_kept_as_it_went_over_the_wire() -> None:
    async with on_the_line(Webhook(answers=[FAILED, OK])) as (sim, webhook):
        sim.webhook_url += "#rc=1&rp=5xx"
        delivered = await sim.text("hi", duplicates=1)
        assert [made.status for made in delivered.requests] == [500, 200, 200]
        for made, came in zip(delivered.requests, webhook.requests, strict=True):
            assert made.method == "POST"
            assert made.url.endswith(came.target)
            assert made.params == came.form.fields
            assert dict(made.headers)["X-Twilio-Signature"] == came.signature
            assert made.seconds > 0
        assert delivered.requests[0].body == b"no"


async def test_a_redirect_is_kept_as_two_requests() -> None:
    async with on_the_line() as (sim, webhook):
        webhook.headers["location"] = "/elsewhere"
        webhook.answers = [(302, "text/plain", b""), OK]
        first, second = (await sim.text("hi")).requests
        assert (first.method, first.status) == ("POST", 302)
        assert (second.method, second.status, second.params) == ("GET", 200, ())


async def test_a_request_that_nobody_answers_is_kept_too() -> None:
    async with on_the_line(Webhook(gate=asyncio.Event())) as (sim, webhook):
        sim.webhook_url += "#rt=100"
        delivered = await sim.text("hi")
        (made,) = delivered.requests
        assert made.status == 0
        assert made.seconds > 0
        webhook.open()


async def test_of_a_long_answer_the_beginning_is_kept() -> None:
    async with on_the_line(Webhook(answers=[(500, "text/html", b"x" * 100_000)])) as (sim, _):
        delivered = await sim.text("hi")
        assert delivered.requests[0].body == b"x" * 4096


async def test_status_callbacks_keep_their_requests() -> None:
    async with on_the_line() as (sim, webhook):
        async with sim.serve() as url:
            await create(url, StatusCallback=sim.webhook_url)
            await webhook.received(2)
            await sim.wait_for(lambda sent: sent.status == "delivered")
        for callback, came in zip(sim.callbacks, webhook.requests, strict=False):
            assert isinstance(callback, StatusCallback)
            (made,) = callback.requests
            assert made.params == came.form.fields
            assert dict(made.params)["MessageStatus"] == callback.status


async def test_calls_of_the_rest_api_are_told_whatever_they_come_to() -> None:
    async with on_the_line() as (sim, _):
        heard: list[Event] = []
        async with sim.serve() as url:
            with sim.listening(heard.append):
                accepted = await create(url)
                await create(url, To="+1")
                sim.trouble = Trouble(rate_limited=1)
                await create(url, Body="later")
                sim.trouble = Trouble(lost_answers=1)
                with pytest.raises(httpx2.RemoteProtocolError):
                    await create(url)
        calls = [event for event in heard if isinstance(event, RestCall)]
        assert [call.status for call in calls] == [201, 400, 429, 201]
        assert [call.lost for call in calls] == [False, False, False, True]
        assert calls[0].sid == accepted.json()["sid"]
        assert json.loads(calls[0].answer) == accepted.json()
        assert (calls[1].sid, calls[1].to) == ("", "+1")
        assert dict(calls[2].params)["Body"] == "later"
        assert all(CREDENTIALS.account_sid in call.path for call in calls)


async def test_a_webhook_can_be_under_way_for_a_while() -> None:
    async with on_the_line(trouble=Trouble(webhook_delay=0.2)) as (sim, _):
        heard: list[float] = []

        def hear(event: Event) -> None:
            if isinstance(event, Texted | Delivered):
                heard.append(asyncio.get_running_loop().time())

        with sim.listening(hear):
            await sim.text("hi")
        texted, delivered = heard
        assert delivered - texted >= 0.2


async def test_what_a_former_simulator_knew_can_be_taken_over() -> None:
    async with on_the_line() as (sim, _):
        heard: list[Event] = []
        with sim.listening(heard.append):
            await sim.text("STOP", to="+15005559999")
        told = heard[0]
        assert isinstance(told, Texted)

        async with Simulator(**Simulator.credentials()._asdict()) as other:
            other.recall(told)
            assert other.opted_out == {PERSON}
