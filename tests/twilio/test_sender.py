import asyncio
import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from offhook.clock import elapsed
from offhook.core.cost import Cost
from offhook.core.lifecycle import SendTrigger
from offhook.errors import OffhookError
from offhook.http_session import timeouts
from offhook.settings import Settings
from offhook.stores.api import Draft, SendClaim, SendOutcome
from offhook.twilio import sender as twilio_sender
from offhook.twilio.error_codes import MEANINGS, meaning
from offhook.twilio.sender import MAX_TRIES, TwilioSender
from offhook.twilio.simulator import Simulator, Trouble
from offhook.twilio.simulator.serving import serving
from testing.ports import free_port
from testing.twilio.helpers import (
    Handler,
    Webhook,
    answering,
    http,
    raw_server,
    read_request,
    simulator,
    webhook_of,
)

ACCOUNT, TOKEN = Simulator.credentials()
PERSON = "+15551230001"
SERVICE = "MG" + "5" * 32


def settings(twilio_api: str, **given: Any) -> Settings:
    known = {"account_sid": ACCOUNT, "auth_token": TOKEN, "twilio_api": twilio_api}
    return Settings.load(env_file=None, **(known | given))


def claim(tries: int = 1, **given: Any) -> SendClaim:
    draft = {
        "identity": "return:0",
        "account_sid": ACCOUNT,
        "sender": "+15005550006",
        "to": PERSON,
        "body": "You said: hi",
    }
    return SendClaim(id=7, token=1, message_id=3, draft=Draft(**(draft | given)), tries=tries)


async def send_once(
    twilio_api: str,
    claimed: SendClaim,
    *,
    status_callback: Callable[[int, str], str] | None = None,
    **given: Any,
) -> SendOutcome:
    sender = TwilioSender(
        settings(twilio_api, **given), status_callback=status_callback, jitter=lambda: 0.0
    )
    try:
        return await sender.send(claimed)
    finally:
        await sender.close()


async def send_to(handler: Handler, claimed: SendClaim | None = None, **given: Any) -> SendOutcome:
    async with raw_server(handler) as url:
        return await send_once(url, claimed or claim(), **given)


async def send_through(sim: Simulator, claimed: SendClaim, **given: Any) -> SendOutcome:
    async with sim, sim.serve() as url:
        return await send_once(url, claimed, **given)


def account(**given: Any) -> Simulator:
    return simulator(account_sid=ACCOUNT, auth_token=TOKEN, **given)


async def test_an_accepted_message_has_twilios_sid_and_status() -> None:
    sim = account()
    outcome = await send_through(sim, claim(media=("https://a.example/1", "https://b/2")))
    (sent,) = sim.sent
    cost = Cost(segments=1)
    assert outcome == SendOutcome(SendTrigger.ACCEPT, sid=sent.sid, status="queued", cost=cost)
    assert (sent.to, sent.from_, sent.body) == (PERSON, "+15005550006", "You said: hi")
    assert sent.media == ("https://a.example/1", "https://b/2")


@pytest.mark.parametrize(
    ("answer", "cost"),
    [
        ({}, Cost(2)),
        ({"num_segments": "3", "price": None, "price_unit": "USD"}, Cost(3)),
        ({"num_segments": "0", "price": "-0.01580", "price_unit": "USD"}, Cost(2, 15_800, "USD")),
        ({"num_segments": "99999", "price": "1e9", "price_unit": "USD"}, Cost(2)),
        ({"num_segments": 3, "price": -0.5, "price_unit": "USD"}, Cost(2)),
        ({"price": "-0.5", "price_unit": "dollars"}, Cost(2)),
        ({"price": "0.000001", "price_unit": "EUR"}, Cost(2, 1, "EUR")),
    ],
)
async def test_what_it_costs_is_what_twilio_says_or_what_the_text_has(
    answer: dict[str, object], cost: Cost
) -> None:
    body = json.dumps({"sid": "SM" + "0" * 32, "status": "queued", **answer}).encode()
    outcome = await send_to(answering(http(201, body)), claim(body="a" * 161))
    assert outcome.cost == cost


async def test_only_texts_by_sms_have_segments() -> None:
    accepted = answering(http(201, json.dumps({"sid": "SM" + "0" * 32}).encode()))
    lost = answering(http(500, b"{}"))
    cases: tuple[tuple[Handler, dict[str, Any], int], ...] = (
        (accepted, {"to": "whatsapp:+15551230001"}, 0),
        (accepted, {"media": ("https://a.example/1",)}, 0),
        (accepted, {"content_sid": "HX1"}, 0),
        (lost, {}, 2),
    )
    for handler, changes, segments in cases:
        outcome = await send_to(handler, claim(**{"body": "a" * 161, **changes}))
        assert outcome.cost == Cost(segments), changes


async def test_a_request_that_would_leave_too_late_does_not_leave() -> None:
    """What waits behind it may have been sent by another process: it would be out of order."""
    sim = account()
    late = replace(claim(), leaves_by=elapsed())
    outcome = await send_through(sim, late)
    assert (outcome.trigger, outcome.delay) == (SendTrigger.POSTPONE, 0.0)
    assert sim.sent == ()


async def test_a_messaging_service_chooses_the_number() -> None:
    sim = account()
    outcome = await send_through(sim, claim(sender=SERVICE))
    assert (outcome.trigger, outcome.status) == (SendTrigger.ACCEPT, "accepted")
    assert (sim.sent[0].service, sim.sent[0].from_) == (SERVICE, "+15005550006")


async def test_a_content_template_goes_out_with_its_variables() -> None:
    sim = account()
    template = claim(body="", content_sid="HX1", content_variables={"1": "Ada", "2": "é"})
    assert (await send_through(sim, template)).trigger is SendTrigger.ACCEPT
    assert sim.sent[0].content_sid == "HX1"
    assert sim.sent[0].content_variables == '{"1": "Ada", "2": "\\u00e9"}'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        (
            {"status_callback": "http://here/{}/{}".format},
            f"http://here/7/{ACCOUNT}",
        ),
    ],
    ids=["without one", "with one"],  # its account is another in each process
)
async def test_the_status_callback_names_the_send(given: dict[str, Any], expected: str) -> None:
    webhook = Webhook(
        answers=[
            (
                201,
                "application/json",
                b'{"sid": "SM11111111111111111111111111111111", "status": "queued"}',
            )
        ]
    )

    async with serving(webhook, host="127.0.0.1", port=0) as url:
        result = await send_once(url, claim(), **given)
    assert result.sid == "SM11111111111111111111111111111111"
    (request,) = webhook.requests
    assert request.target == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert request.form.get("StatusCallback") == expected
    assert ("StatusCallback" in dict(request.form.fields)) == bool(expected)


async def test_an_api_key_is_used_for_sending_when_there_is_one() -> None:
    heads: list[bytes] = []
    key = "SK" + "0" * 32
    answer = answering(
        http(201, b'{"sid": "SM11111111111111111111111111111111", "status": "queued"}'), heads
    )
    outcome = await send_to(answer, api_key=key, api_key_secret="sesame")
    assert outcome.trigger is SendTrigger.ACCEPT
    assert b"Basic " + base64.b64encode(f"{key}:sesame".encode()) in heads[0]


async def test_a_sub_accounts_message_is_sent_from_that_account() -> None:
    heads: list[bytes] = []
    answer = answering(
        http(201, b'{"sid": "SM11111111111111111111111111111111", "status": "queued"}'), heads
    )
    await send_to(answer, claim(account_sid="ACsub/../..?x"))
    assert heads[0].startswith(b"POST /2010-04-01/Accounts/ACsub%2F..%2F..%3Fx/Messages.json ")


async def test_a_port_that_refuses_postpones_with_growing_delays() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    outcomes = [await send_once(url, claim(tries)) for tries in (1, 2, 3)]
    assert [outcome.trigger for outcome in outcomes] == [SendTrigger.POSTPONE] * 3
    assert [outcome.delay for outcome in outcomes] == [1.0, 4.0, 16.0]


@contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port where connections are neither refused nor accepted."""
    with socket.socket() as listener, ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(3):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


async def test_a_connection_that_is_not_made_in_time_postpones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(twilio_sender, "TIMEOUT", timeouts(connect=0.2, read=5))
    with full_backlog() as port:
        outcome = await send_once(f"http://127.0.0.1:{port}", claim())
    assert outcome.trigger is SendTrigger.POSTPONE
    assert "ConnectionTimeoutError" in outcome.error


async def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await send_through(account(), claim())).trigger is SendTrigger.ACCEPT


async def test_a_send_that_never_gets_through_is_given_up_in_the_end() -> None:
    outcome = await send_once(f"http://127.0.0.1:{free_port()}", claim(MAX_TRIES))
    assert outcome.trigger is SendTrigger.REFUSE
    assert outcome.error.startswith(f"given up after {MAX_TRIES} tries: Twilio was not reached")


async def test_a_server_that_closes_after_reading_may_have_the_message() -> None:
    outcome = await send_to(answering(b""))
    assert outcome.trigger is SendTrigger.LOSE
    assert outcome.error.startswith("no answer was read: ServerDisconnectedError")


async def test_half_an_answer_is_none() -> None:
    half = http(201, b'{"sid": "SM11111111111111111111111111111111", "status": "queued"}')[:-5]
    assert (await send_to(answering(half))).trigger is SendTrigger.LOSE


async def _never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()  # until the client gives up and closes


async def test_a_server_that_never_answers_may_have_the_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(twilio_sender, "TIMEOUT", timeouts(connect=5, read=0.05))
    outcome = await send_to(_never_answer)
    assert outcome.trigger is SendTrigger.LOSE
    assert "SocketTimeoutError" in outcome.error


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_server_that_drips_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(twilio_sender, "TIMEOUT", timeouts(connect=5, read=5, total=0.1))
    outcome = await send_to(_drip)
    assert outcome.trigger is SendTrigger.LOSE
    assert "TimeoutError" in outcome.error


async def test_a_cancelled_send_is_cancelled() -> None:
    reached = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        reached.set()
        await reader.read()

    async with raw_server(handler) as url:
        sending = asyncio.create_task(send_once(url, claim()))
        await reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize(
    ("header", "delay"),
    [
        (["Retry-After: 17"], 17.0),
        (["Retry-After: 999999999999999"], 300.0),
        (["Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"], 4.0),
        ([], 4.0),
    ],
)
async def test_too_many_requests_are_repeated_when_twilio_says_or_with_backoff(
    header: list[str], delay: float
) -> None:
    body = b'{"code": 20429, "message": "Too Many Requests", "status": 429}'
    outcome = await send_to(answering(http(429, body, *header)), claim(tries=2))
    assert (outcome.trigger, outcome.error_code) == (SendTrigger.POSTPONE, "20429")
    assert outcome.delay == delay


@pytest.mark.parametrize("header", [(), ("Retry-After: 30",)])
async def test_a_daily_limit_is_waited_for_beyond_the_day_that_it_lasts(
    header: tuple[str, ...],
) -> None:
    body = b'{"code": 63038, "message": "Daily limit", "status": 429}'
    assert 900 * (MAX_TRIES - 10) > 24 * 3600
    for tries in (10, MAX_TRIES - 1):
        outcome = await send_to(answering(http(429, body, *header)), claim(tries=tries))
        assert (outcome.trigger, outcome.error_code) == (SendTrigger.POSTPONE, "63038")
        assert 900 <= outcome.delay <= 1800
    first = await send_to(answering(http(429, body)), claim(tries=1))
    assert first.delay <= 1.0, "a person is waiting, and the limit rolls on"


async def test_what_was_answered_429_was_not_sent() -> None:
    sim = account(trouble=Trouble(rate_limited=1.0, retry_after=2))
    outcome = await send_through(sim, claim())
    assert (outcome.trigger, outcome.delay) == (SendTrigger.POSTPONE, 2.0)
    assert sim.sent == ()


async def test_a_server_error_may_follow_an_accepted_message() -> None:
    sim = account(trouble=Trouble(server_errors=1.0))
    outcome = await send_through(sim, claim())
    assert (outcome.trigger, outcome.error_code) == (SendTrigger.LOSE, "20500")
    assert len(sim.sent) == 1


async def test_an_answer_lost_after_the_message_was_accepted_makes_it_unknown() -> None:
    sim = account(trouble=Trouble(lost_answers=1.0))
    outcome = await send_through(sim, claim())
    assert (outcome.trigger, outcome.sid) == (SendTrigger.LOSE, "")
    assert len(sim.sent) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"status": "queued"}', b'{"sid": 5}'])
async def test_an_accepting_answer_that_cannot_be_read_makes_the_send_unknown(body: bytes) -> None:
    assert (await send_to(answering(http(201, body)))).trigger is SendTrigger.LOSE


async def test_a_refusal_says_what_it_means() -> None:
    sim = account()

    async with sim, sim.serve() as url, webhook_of(sim):
        await sim.text("stop", from_=PERSON)
        outcome = await send_once(url, claim())
    assert (outcome.trigger, outcome.error_code) == (SendTrigger.REFUSE, "21610")
    assert outcome.error == MEANINGS["21610"]


async def test_a_refusal_without_twilios_json_is_one_all_the_same() -> None:
    outcome = await send_to(answering(http(404, b"nginx")))
    assert outcome == SendOutcome(SendTrigger.REFUSE, error="Twilio answered 404")


async def test_a_redirect_is_not_followed_with_the_credentials() -> None:
    outcome = await send_to(answering(http(307, b"", "Location: http://elsewhere.example/")))
    assert outcome == SendOutcome(SendTrigger.REFUSE, error="Twilio answered 307")


async def test_refused_credentials_are_tried_again_for_they_can_be_mended() -> None:
    outcome = await send_through(account(), claim(), auth_token="f" * 32)
    assert (outcome.trigger, outcome.error_code) == (SendTrigger.POSTPONE, "20003")
    assert "TWILIO_AUTH_TOKEN" in outcome.error


@pytest.mark.parametrize(
    ("code", "trigger"), [(20006, SendTrigger.POSTPONE), (21408, SendTrigger.REFUSE)]
)
async def test_a_403_about_the_caller_is_tried_again_one_about_the_message_is_not(
    code: int, trigger: SendTrigger
) -> None:
    answer = http(403, b'{"code": %d, "message": "no", "status": 403}' % code)
    assert (await send_to(answering(answer))).trigger is trigger


async def test_a_request_that_cannot_be_made_is_refused_and_raises_nothing() -> None:
    def broken(_: int, __: str) -> str:
        raise OffhookError("no URL")

    outcome = await send_once("http://127.0.0.1:1", claim(), status_callback=broken)
    assert outcome == SendOutcome(SendTrigger.REFUSE, error="cannot be sent: OffhookError no URL")


async def test_connections_are_kept_and_used_again() -> None:
    connections: list[asyncio.StreamWriter] = []
    body = b'{"sid": "SM11111111111111111111111111111111"}'
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: 45\r\n\r\n" + body

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while not reader.at_eof():
            await read_request(reader)
            writer.write(answer)

    async with raw_server(handler) as url:
        sender = TwilioSender(settings(url))
        try:
            triggers = [(await sender.send(claim())).trigger for _ in range(5)]
        finally:
            await sender.close()
    assert triggers == [SendTrigger.ACCEPT] * 5
    assert len(connections) == 1


async def test_the_message_of_an_unknown_error_shows_no_phone_number() -> None:
    body = b'{"code": 29999, "message": "The number +15551230001 is odd.", "status": 400}'
    outcome = await send_to(answering(http(400, body)))
    assert outcome == SendOutcome(
        SendTrigger.REFUSE, error_code="29999", error="The number ***01 is odd."
    )


def test_every_meaning_is_a_sentence_or_two() -> None:
    for code in MEANINGS:
        assert code.isdigit()
        assert meaning(code, "Twilio's own").endswith(".")
