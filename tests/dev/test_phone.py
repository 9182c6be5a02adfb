"""What the phone makes of what it hears on the line. What people see of it: tests/browser."""

import asyncio
import json
import shlex
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.reasons import Cause
from offhook.core.send_reference import send_reference
from offhook.dev.phone import Phone
from offhook.dev.phone import conversations as books
from offhook.dev.phone.actions import ActiveFaults, PhoneActions
from offhook.dev.phone.attachments import StoredFile
from offhook.dev.phone.bubbles import Incoming, Outgoing
from offhook.dev.phone.conversations import Conversations
from offhook.dev.phone.journal import Journal, PageChange, Position
from offhook.dev.phone.pages import curl
from offhook.dev.phone.requests import ContactRequest, TextRequest
from offhook.dev.phone.snapshot import Snapshot, read
from offhook.dev.phone.switches import FaultSwitch, trouble_for
from offhook.dev.phone.timeline import timeline
from offhook.errors import ConfigurationError
from offhook.events import Handled, Sent, Started
from offhook.stores import open_store
from offhook.stores.api import Settlement
from offhook.twilio.simulator import Delivered, RestCall, Texted
from offhook.twilio.simulator.delivery import Request
from offhook.twilio.simulator.payloads import Text, inbound
from testing.plain_http import PlainAsyncClient
from testing.stores import claim_one, opened
from testing.stores import inbound as stored
from testing.twilio.helpers import Webhook
from testing.twilio.line import CREDENTIALS, on_the_line

ADA = "+15551230001"
OURS = "+15005550006"
HOST = "127.0.0.1:8000"


def texted(number: int, body: str = "hello", from_: str = ADA) -> Texted:
    sid = f"SM{number:032x}"
    params = inbound(Text(sid, CREDENTIALS.account_sid, from_, OURS, body))
    return Texted(sid, from_, OURS, params, time=1_000_000.0 + number)


def delivered(number: int) -> Delivered:
    """Return what is heard when a webhook was acknowledged within 5 ms."""
    sid, at = texted(number).sid, texted(number).time
    request = Request("POST", f"http://{HOST}/", (), (), at, 200, "text/xml", b"", 0.005)
    return Delivered(sid, ADA, OURS, "", (), 200, 0.005, 1, None, (), (), 0, (request,))


def too_many(send_id: int) -> RestCall:
    """Return a send that Twilio answered 429."""
    reference = send_reference(send_id, CREDENTIALS.account_sid, CREDENTIALS.auth_token)
    params = (
        ("To", ADA),
        ("From", OURS),
        ("Body", "an answer"),
        ("StatusCallback", f"http://{HOST}/twilio/status?send={reference}"),
    )
    answer = json.dumps({"code": 20429, "message": "Too Many Requests", "status": 429})
    return RestCall("/", params, "", ADA, 1_000_001.0, 429, answer, lost=False, seconds=0.01)


def handled(message_id: int, sid: str) -> Handled:
    return Handled(message_id, Kind.MESSAGE, sid, 1, Trigger.COMPLETE, 0.0, 0.1)


def of_ada(book: Conversations) -> tuple[Incoming | Outgoing, ...]:
    return book.open(ADA).bubbles


def test_a_reply_finds_its_message_by_the_ledgers_number() -> None:
    book = Conversations(OURS, Journal())
    book.hear_line(texted(1))
    book.hear_line(too_many(7))
    book.hear_app(Sent(7, 3, "return:0", SendTrigger.POSTPONE, 0.01))
    book.hear_app(handled(3, texted(1).sid))
    message, reply = of_ada(book)
    assert isinstance(message, Incoming)
    assert isinstance(reply, Outgoing)
    assert book.cause(reply) == message
    assert book.effects(message) == (reply,)


def test_a_message_runs_then_waits_and_others_wait_behind_it_by_one_clock() -> None:
    book = Conversations(OURS, Journal())
    for number in (1, 2, 3):
        book.hear_line(texted(number))
        book.hear_line(delivered(number))
    first, _, third = of_ada(book)
    assert [book.open(ADA).ahead_of(one) for one in of_ada(book)] == [0, 1, 2]

    book.hear_app(Started(3, Kind.MESSAGE, first.id, 1), first.time + 0.002)
    running = of_ada(book)[0]
    assert isinstance(running, Incoming)
    assert running.state == "running"
    assert [one.kind for one in timeline(running, ())] == ["running", "acknowledged"]

    failed = replace(handled(3, first.id), trigger=Trigger.RETRY, traceback="a\nKeyError: 'x'")
    book.hear_app(replace(failed, took=2.0, delay=60.0), first.time + 2.005)
    waiting = of_ada(book)[0]
    assert isinstance(waiting, Incoming)
    assert (waiting.state, waiting.error_text) == ("waiting", "KeyError: 'x'")
    assert waiting.runs[0].due == pytest.approx(first.time + 62.002)
    assert book.open(ADA).ahead_of(third) == 2
    run, acknowledged = timeline(waiting, ())
    assert run.kind == "run"
    assert run.after == pytest.approx(0.002)
    assert acknowledged.after == pytest.approx(0.005)

    later = replace(failed, error="RetryLater", traceback="the line is busy", delay=600.0)
    book.hear_app(later, first.time + 70)
    put_off = of_ada(book)[0]
    assert isinstance(put_off, Incoming)
    assert put_off.is_put_off
    assert put_off.error_text == ""


def test_the_tries_of_a_send_are_one_bubble() -> None:
    book = Conversations(OURS, Journal())
    for _ in range(3):
        book.hear_line(too_many(7))
    (reply,) = of_ada(book)
    assert isinstance(reply, Outgoing)
    assert len(reply.calls) == 3
    assert reply.state == "held"


def test_the_oldest_bubbles_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "KEPT", 3)
    book = Conversations(OURS, Journal())
    for number in range(1, 6):
        book.hear_line(texted(number))
        book.hear_app(handled(number, texted(number).sid))
    assert [bubble.id for bubble in of_ada(book)] == [texted(n).sid for n in (3, 4, 5)]
    book.hear_app(handled(1, texted(1).sid))  # of one that is gone
    assert book.bubble(texted(1).sid) is None


def test_the_same_number_has_a_conversation_on_each_channel() -> None:
    book = Conversations(OURS, Journal())
    sms, whatsapp = book.open(ADA), book.open(f"whatsapp:{ADA}")
    assert sms.id != whatsapp.id
    assert book.open(ADA).id == sms.id


NOTES = st.lists(st.integers(0, 5).map(lambda n: PageChange("bubble", "c", str(n))), max_size=40)


@given(NOTES, NOTES)
def test_a_reader_learns_of_each_change_once(
    before: list[PageChange], after: list[PageChange]
) -> None:
    changes = Journal(kept=100)
    for change in before:
        changes.note(change)
    position = changes.position
    for change in after:
        changes.note(change)
    assert changes.since(position) == tuple(dict.fromkeys(after))
    assert changes.since(changes.position) == ()


def test_a_reader_that_was_away_for_too_long_is_told_so() -> None:
    changes = Journal(kept=2)
    position = changes.position
    for number in range(3):
        changes.note(PageChange("bubble", "c", str(number)))
    assert changes.since(position) is None


@pytest.mark.parametrize("text", ["", "1", "-", "abc-", "abc-x", "abc--1", "abc-²", "other-0"])
def test_a_position_of_another_process_is_not_known(text: str) -> None:
    assert Journal().since(Position.parse(text)) is None


def test_a_position_survives_the_way_to_the_browser_and_back() -> None:
    changes = Journal()
    changes.note(PageChange("trouble"))
    assert Position.parse(str(changes.position)) == changes.position


async def test_readers_are_woken_by_a_change_and_let_go_at_the_end() -> None:
    changes = Journal()
    seen: list[tuple[PageChange, ...] | None] = []
    started = asyncio.Event()

    async def follow() -> None:
        async for _, found in changes.follow(changes.position):
            seen.append(found)
            started.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await started.wait()
        started.clear()
        changes.note(PageChange("trouble"))
        await started.wait()
        changes.close()
    assert seen == [(), (PageChange("trouble"),)]


def test_what_was_heard_survives_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "dev.phone"
    memories = Snapshot()
    late = replace(handled(3, texted(1).sid), error=Cause.TIMED_OUT(30.0))
    events = (texted(1), too_many(7), handled(3, texted(1).sid), late)
    for event in events:
        memories.keep(event)
    memories.keep(Handled(4, Kind.STATUS, "SM", 1, Trigger.COMPLETE, 0.0, 0.1))  # not shown
    setting = ActiveFaults(frozenset({FaultSwitch.LIMIT}), frozenset({ADA}))
    picture = StoredFile("key", "cat.png", b"\x89PNG\r\n")
    memories.write(file, setting, (picture,))
    assert file.stat().st_mode & 0o777 == 0o600
    assert [event for event, _ in read(file)] == [*events, picture, setting]

    file.write_bytes(file.read_bytes()[:-10])
    assert [event for event, _ in read(file)] == [*events, picture]
    assert tuple(read(tmp_path / "none")) == ()


async def test_real_bytes_of_an_answer_survive_too(tmp_path: Path) -> None:
    file = tmp_path / "dev.phone"
    memories = Snapshot()

    async with on_the_line(Webhook(answers=[(200, "application/octet-stream", b"\xff\x00")])) as (
        sim,
        _,
    ):
        with sim.listening(memories.keep):
            await sim.text("hi")
        memories.write(file, ActiveFaults())
        assert [event for event, _ in read(file)][1] == sim.delivered[0]
        assert sim.delivered[0].requests[0].body == b"\xff\x00"


def test_each_switch_makes_trouble_and_none_makes_none() -> None:
    calm = trouble_for(frozenset(), frozenset())
    assert all(trouble_for(frozenset({switch}), frozenset()) != calm for switch in FaultSwitch)
    assert trouble_for(frozenset(FaultSwitch), frozenset({ADA})).undelivered == {ADA: 30003}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"conversation": "x"}', b'{"conversation": "x", "body": " "}',
     b'{"conversation": "x", "body": "a", "surprise": 1}',
     b'{"conversation": "x", "location": {"latitude": 91, "longitude": 0}}'],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(ConfigurationError):
        TextRequest.read(body)


def test_a_number_may_be_written_as_people_write_it() -> None:
    order = ContactRequest.read(b'{"number": "+1 (555) 123-0042", "channel": "whatsapp"}')
    assert order.address == "whatsapp:+15551230042"


def test_a_webhook_is_copied_as_a_command() -> None:
    headers = (("X-Twilio-Signature", "a+b="),)
    request = Request("POST", f"http://{HOST}/a?b=1&c=2", headers, (("Body", "it's $1"),), 0.0)
    assert shlex.split(curl(request)) == [
        "curl", f"http://{HOST}/a?b=1&c=2",
        "-H", "X-Twilio-Signature: a+b=", "--data-urlencode", "Body=it's $1",
    ]  # fmt: skip


async def test_an_attachment_is_fetched_without_a_cookie_and_cannot_be_a_page() -> None:
    async with on_the_line() as (sim, _):
        never = open_store("sqlite:///never-opened.db")
        phone = Phone(sim, never, url=f"http://{HOST}", token="t")
        transport = httpx2.ASGITransport(phone.app, client=("127.0.0.1", 50_000))
        origin = {"Origin": f"http://{HOST}"}
        async with PlainAsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            await client.get("/phone?token=t")
            kept = await client.post(
                "/phone/attachments?name=a%2F../b.html", content=b"<script>", headers=origin
            )
            too_long = await client.post(
                "/phone/attachments", content=bytes(6 * 1024 * 1024), headers=origin
            )
            assert too_long.status_code == 413
        async with PlainAsyncClient(transport=transport) as bot:
            found = await bot.get(kept.json()["url"])
            assert found.content == b"<script>"
            assert "sandbox" in found.headers["Content-Security-Policy"]
            assert (await bot.get(f"http://{HOST}/phone/media/guess/b.html")).status_code == 404
            away = await bot.get(kept.json()["url"], headers={"X-Forwarded-For": "192.0.2.7"})
            assert away.status_code == 404


async def test_a_selected_message_shows_the_state_of_its_conversation(tmp_path: Path) -> None:
    async with on_the_line() as (sim, _), opened(tmp_path / "offhook.db") as store:
        phone = Phone(sim, store, url=f"http://{HOST}", token="t")
        transport = httpx2.ASGITransport(phone.app, client=("127.0.0.1", 50_000))
        async with (
            phone.listening(),
            PlainAsyncClient(transport=transport, base_url=f"http://{HOST}") as client,
        ):
            sent = await sim.text("hello")
            await store.accept(stored(sent.sid, "lane"))
            run = await claim_one(store)
            state = b'{"step":"age","name":"<Ann>"}'
            await store.settle(run, Settlement(Trigger.COMPLETE, state=state))
            await client.get("/phone?token=t")
            line = await client.get(f"/phone/lines/{sent.sid}")
            assert "&#34;age&#34;" in line.text
            assert "&#34;&lt;Ann&gt;&#34;" in line.text


async def test_a_person_who_hides_the_number_is_the_same_contact() -> None:
    async with on_the_line() as (sim, webhook):
        actions = PhoneActions(sim, Journal())
        grace = next(one for one in actions.book.conversations if one.channel == "whatsapp")
        with sim.listening(actions.book.hear_line):
            for n, hidden in enumerate((False, True, False), 1):
                order = {"conversation": grace.id, "body": "hello", "hides_number": hidden}
                actions.text(TextRequest.read(json.dumps(order).encode()))
                await webhook.received(n)
        fields = [dict(request.form.fields) for request in webhook.requests]
        user_id = "whatsapp:US.15551230002"
        assert [one["From"] for one in fields] == [grace.address, user_id, grace.address]
        assert {one["ExternalUserId"] for one in fields} == {user_id}
        assert ["WaId" in one for one in fields] == [True, False, True]
        assert len(actions.book.open(user_id).bubbles) == 3
        assert len(actions.book.conversations) == 3
