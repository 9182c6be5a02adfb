import asyncio

import pytest

from offhook.errors import ConfigurationError
from offhook.twilio.simulator.connection_overrides import Overrides
from testing.ports import free_port
from testing.twilio.helpers import (
    Webhook,
    answering,
    raw_server,
)
from testing.twilio.line import (
    FAILED,
    OK,
    on_the_line,
    valid,
)


async def test_by_default_an_error_is_not_retried() -> None:
    async with on_the_line(Webhook(answers=[FAILED])) as (sim, webhook):
        delivered = await sim.text("hi")
        assert (delivered.status, delivered.error, delivered.attempts) == (500, 11200, 1)
        assert not delivered.ok
    assert len(webhook.requests) == 1


async def test_overrides_make_twilio_try_again_with_the_same_token() -> None:
    async with on_the_line(Webhook(answers=[FAILED, FAILED, OK])) as (sim, webhook):
        sim.webhook_url += "?a=b#rc=5&rp=5xx,ct,rt"
        delivered = await sim.text("hi")
        assert (delivered.status, delivered.error, delivered.attempts) == (200, None, 3)
    assert len(webhook.requests) == 3
    assert len({request.headers["i-twilio-idempotency-token"] for request in webhook.requests}) == 1
    assert {request.target for request in webhook.requests} == {"/twilio/messages?a=b"}
    assert all(map(valid, webhook.requests))


async def test_retries_come_to_an_end() -> None:
    async with on_the_line(Webhook(answers=[(404, "text/plain", b"")])) as (sim, webhook):
        sim.webhook_url += "#rc=2&rp=all"
        assert (await sim.text("hi")).attempts == 3
    assert len(webhook.requests) == 3


async def test_a_policy_holds_for_what_it_names_only() -> None:
    async with on_the_line(Webhook(answers=[(404, "text/plain", b""), OK])) as (sim, _):
        sim.webhook_url += "#rc=5&rp=5xx"
        assert (await sim.text("hi")).attempts == 1


async def test_a_refused_connection_is_retried_once_by_default() -> None:
    async with on_the_line() as (sim, _):
        sim.webhook_url = f"http://127.0.0.1:{free_port()}/"
        delivered = await sim.text("hi")
        assert (delivered.status, delivered.error, delivered.attempts) == (0, 11205, 2)


async def test_a_webhook_that_does_not_answer_in_time_has_failed() -> None:
    webhook = Webhook(gate=asyncio.Event())

    async with on_the_line(webhook) as (sim, served):
        sim.webhook_url += "#rt=100"
        delivered = await sim.text("hi")
        assert (delivered.status, delivered.error, delivered.attempts) == (0, 11200, 1)
        served.open()
    assert len(webhook.requests) == 1


async def test_the_total_time_bounds_all_attempts() -> None:
    webhook = Webhook(gate=asyncio.Event())

    async with on_the_line(webhook) as (sim, served):
        sim.webhook_url += "#rt=10000&tt=300&rc=5&rp=all"
        delivered = await sim.text("hi")
        assert (delivered.error, delivered.attempts) == (11200, 1)
        assert 0.25 < delivered.seconds < 10
        served.open()


async def test_a_connection_that_breaks_is_a_protocol_violation() -> None:
    async with on_the_line() as (sim, _), raw_server(answering(b"")) as url:
        sim.webhook_url = url
        assert (await sim.text("hi")).error == 11206


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:b/\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_a_protocol_violation(answer: bytes) -> None:
    async with on_the_line() as (sim, _), raw_server(answering(answer)) as url:
        sim.webhook_url = url
        assert (await sim.text("hi")).error == 11206


async def test_the_fallback_is_told_what_went_wrong() -> None:
    async with on_the_line(Webhook(answers=[FAILED, FAILED, OK])) as (sim, served):
        sim.fallback_url = sim.webhook_url.replace("messages", "fallback")
        sim.webhook_url += "?x=1#rc=1&rp=5xx"
        delivered = await sim.text("hi")
        assert (delivered.status, delivered.error, delivered.attempts) == (200, None, 3)
        *first, fallback = served.requests
        assert [request.target for request in first] == ["/twilio/messages?x=1"] * 2
        assert fallback.target == "/twilio/fallback"
        assert fallback.form.get("ErrorCode") == "11200"
        assert fallback.form.get("ErrorUrl") == sim.webhook_url.partition("#")[0]
        assert fallback.form.get("MessageSid") == first[0].form.get("MessageSid")
        assert valid(fallback)


async def test_a_redirect_is_followed_as_a_get_without_parameters() -> None:
    async with on_the_line(Webhook(answers=[(302, "text/plain", b""), OK])) as (sim, served):
        served.headers["location"] = "/elsewhere?b=1"
        assert (await sim.text("hi")).status == 200
    webhook = served
    first, second = webhook.requests
    assert (first.method, second.method) == ("POST", "GET")
    assert (second.target, second.body) == ("/elsewhere?b=1", b"")
    assert all(map(valid, webhook.requests))


async def test_redirects_do_not_go_on_forever() -> None:
    async with on_the_line(Webhook(answers=[(301, "text/plain", b"")])) as (sim, served):
        served.headers["location"] = "/again"
        assert (await sim.text("hi")).error == 11215


@pytest.mark.parametrize("fragment", ["rc=6", "rc=x", "ct=50", "tt=15001", "rp=often", "rc="])
def test_overrides_that_twilio_would_not_take_are_refused(fragment: str) -> None:
    with pytest.raises(ConfigurationError, match=fragment[:2]):
        Overrides.parse(f"https://bot.example/#{fragment}")


def test_without_overrides_twilios_defaults_hold() -> None:
    assert Overrides.parse("https://bot.example/#sni=y&e=ashburn") == Overrides(
        connect=5.0, read=15.0, total=15.0, retries=1, policy=frozenset({"ct"})
    )
