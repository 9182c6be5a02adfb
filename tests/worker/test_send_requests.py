"""What a status handler returns, and where sends that answer no message go."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from offhook.core.lifecycle import SendState, SendTrigger, Trigger
from offhook.core.messages import Reply, Send
from offhook.errors import InvalidSend
from offhook.events import Sent, Topic
from offhook.stores.api import Filter, SendClaim, SendOutcome
from offhook.worker.drafts import ReturnAddress, drafts_of
from offhook.worker.handlers import Handlers
from offhook.worker.send_requests import RequestWriter, delay_of
from tests.worker.support import ACCOUNT, ANN, BOB, OURS, Line, opened, serving

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SERVICE = "MG" + "0" * 32


def answers(returned: object) -> Handlers:
    """Return what answers each status."""
    handlers = Handlers()
    handlers.add_status(lambda: returned)
    return handlers


async def claimed(line: Line) -> list[SendClaim]:
    return list((await line.store.claim_sends(10, lease=30.0, owner="w")).claims)


async def write(line: Line, to: str = ANN, body: str | Reply = "hello", **options: Any) -> Send:
    writer = RequestWriter(line.store, line.settings.replace(**options.pop("set", {})), line.told)
    reply = body if isinstance(body, Reply) else Reply(body)
    given = {"key": None, "delay": 0.0, "from_": "", "unless_reply": False, **options}
    return await writer.write(to, reply, **given)


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        (None, 0.0),
        (timedelta(hours=1), 3600.0),
        (timedelta(hours=-1), 0.0),
        (NOW + timedelta(days=365), 365 * 86_400.0),
        (NOW - timedelta(days=365), 0.0),
        (datetime(2026, 11, 30, 14, tzinfo=timezone(timedelta(hours=1))), 3600.0),
    ],
)
def test_a_time_is_a_moment_or_a_span(at: datetime | timedelta | None, seconds: float) -> None:
    assert delay_of(at, NOW) == seconds


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (datetime(2026, 11, 30, 14), "time zone"),  # noqa: DTZ001 - what is refused
        (NOW + timedelta(days=367), "367 days"),
        ("tomorrow", "not str"),
    ],
)
def test_other_times_are_refused(at: Any, why: str) -> None:
    with pytest.raises(InvalidSend, match=why):
        delay_of(at, NOW)


async def test_it_comes_from_the_number_that_the_person_wrote_to_last(tmp_path: Path) -> None:
    async with opened(tmp_path, Handlers()) as line:
        with pytest.raises(InvalidSend, match="OFFHOOK_SENDER"):
            await write(line)
        await line.receive("hi", sender=ANN, To="+15005550007")
        await line.receive("hi", sender=ANN)
        await line.receive("hi", sender=BOB, To="+15005550008")
        await write(line)
        await write(line, body="configured", set={"sender": "+15005550009"})
        await write(line, body="given", from_="+15005550010", set={"sender": "+15005550009"})
        claims: list[SendClaim] = []
        while found := await claimed(line):
            claims += found
            for one in found:
                await line.store.settle_send(one, SendOutcome(SendTrigger.ACCEPT, sid="SM1"))
        assert {one.draft.body: one.draft.sender for one in claims} == {
            "hello": OURS,
            "configured": "+15005550009",
            "given": "+15005550010",
        }


@pytest.mark.parametrize("sender", ["", SERVICE, "+15005550009"])
async def test_it_is_in_line_with_the_replies_of_the_conversation(
    tmp_path: Path, sender: str
) -> None:
    async with opened(tmp_path, Handlers(), sender=sender) as line:
        await line.receive("hi")
        (one,) = (await line.store.claim(1, lease=30.0, owner="w", alone=False)).claims
        await write(line, body="first")
        (first,) = await claimed(line)
        reply = drafts_of(
            Reply("second"), "reply:0", ReturnAddress(ACCOUNT, OURS, ANN, line.settings.sender)
        )
        await line.store.write(one, reply)
        assert await claimed(line) == []
        assert (first.draft.body, first.draft.sender) == ("first", sender or OURS)


async def test_a_number_that_is_given_has_a_conversation_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, Handlers()) as line:
        await line.receive("hi")
        await write(line, from_="+15005550007", delay=60, key="k", unless_reply=True)
        await line.receive("to another number")
        assert (await write(line, key="k", from_=OURS)).state is SendState.SCHEDULED
        await line.receive("to that number", To="+15005550007")
        assert (await write(line, key="k", from_=OURS)).state is SendState.CANCELED


async def test_a_whatsapp_address_gets_a_whatsapp_sender(tmp_path: Path) -> None:
    async with opened(tmp_path, Handlers(), sender="+15005550009") as line:
        await line.receive("hi", sender=f"whatsapp:{ANN}", To=f"whatsapp:{OURS}")
        await write(line, f"WhatsApp:{ANN}")
        (one,) = await claimed(line)
        assert (one.draft.to, one.draft.sender) == (f"whatsapp:{ANN}", f"whatsapp:{OURS}")


async def test_a_long_text_is_sent_in_parts_under_one_key(tmp_path: Path) -> None:
    async with opened(tmp_path, Handlers(), sender=OURS) as line:
        last = await write(line, body="word " * 500, key="k")
        assert (last.identity, last.repeated) == ("key.1:k", False)
        again = await write(line, body="word " * 500, key="k")
        assert (again.id, again.repeated) == (last.id, True)
        assert line.told.topics() == []
        await write(line, body="other words", key="k")
        assert line.told.topics() == [Topic.REPLY_DIFFERS]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"to": ""}, "to is empty"),
        ({"to": "+1555\n"}, "to is a number"),
        ({"from_": 7}, "from_ is a number"),
        ({"key": ""}, "key is a str"),
        ({"key": "\ud800"}, "key is a str"),
    ],
)
async def test_what_can_not_be_is_refused(
    tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    async with opened(tmp_path, Handlers(), sender=OURS) as line:
        with pytest.raises(InvalidSend, match=why):
            await write(line, **options)
        assert await claimed(line) == []


async def test_what_a_status_handler_returns_is_sent_once_however_often_it_is_run(
    tmp_path: Path,
) -> None:
    """A run writes what was returned, and dies before it settles; the next returns the same."""
    async with opened(tmp_path, answers(["Sorry.", Reply("Call me", to=BOB)])) as line:
        await line.status("SM9", "failed")
        async with serving(line, sends=True):
            await line.told.runs(1)
            await line.told.until(lambda: len(line.told.of(Sent)) == 2)
            (record,) = await line.store.find(Filter(sid="SM9"))
            assert await line.store.replay(record.id)
            await line.told.runs(2)
        assert {(one.draft.to, one.draft.body) for one in line.outbox.sent} == {
            (ANN, "Sorry."),
            (BOB, "Call me"),
        }
        assert {one.draft.sender for one in line.outbox.sent} == {OURS}


async def test_what_a_status_handler_returns_is_in_line_with_the_replies(tmp_path: Path) -> None:
    async with opened(tmp_path, answers("Sorry.")) as line:
        await line.status("SM9", "failed")
        async with serving(line):
            await line.told.runs(1)
        await write(line, from_=OURS, body="next")
        (one,) = await claimed(line)
        assert one.draft.body == "Sorry."


async def test_a_status_handler_does_not_answer_the_statuses_of_its_own_messages(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, answers("It was delivered.")) as line:
        await line.status("SM9", "delivered")
        async with serving(line, sends=True):
            await line.told.until(lambda: len(line.told.of(Sent)) == 1)
            (sent,) = line.told.of(Sent)
            await line.status(sent.sid, "delivered")
            await line.told.problem(Topic.STATUS_LOOP)
            await line.told.runs(2)
        assert line.outbox.bodies == ["It was delivered."]


async def test_what_can_not_be_sent_fails_the_attempt(tmp_path: Path) -> None:
    handlers = Handlers()
    handlers.add_status(lambda: 7, max_attempts=1)
    async with opened(tmp_path, handlers) as line:
        await line.status("SM9", "failed")
        async with serving(line):
            (run,) = await line.told.runs(1)
        assert (run.trigger, run.error) == (Trigger.GIVE_UP, "InvalidReply")
