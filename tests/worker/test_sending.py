import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.clock import elapsed
from offhook.core.cost import Cost
from offhook.core.lifecycle import SendState, SendTrigger
from offhook.core.messages import Reply, Template
from offhook.core.segments import segmented
from offhook.core.texts import MAX_BODY
from offhook.errors import InvalidReply, StoreUnavailable
from offhook.events import Sent, Topic
from offhook.stores.api import Claim, ClaimedSends, Draft, SendClaim, SendFilter, SendOutcome
from offhook.worker.drafts import ReturnAddress, drafts_of, notice
from offhook.worker.handler_calls import HandlerCalls
from offhook.worker.message import Message
from offhook.worker.replier import LedgerReplier
from offhook.worker.sending import SendLoop
from tests.worker.support import ACCOUNT, ANN, BOB, OURS, Line, Outbox, handled_by, opened, serving

ADDRESS = ReturnAddress(ACCOUNT, OURS, ANN)
HX = "HX" + "0" * 32


def test_a_reply_goes_back_to_who_wrote_from_where_they_wrote_to() -> None:
    (draft,) = drafts_of(Reply("hello"), "return:0", ADDRESS)
    assert draft == Draft("return:0", ACCOUNT, OURS, ANN, "hello")


def test_media_go_with_the_first_part_of_a_long_text() -> None:
    first, second = drafts_of(
        Reply("word " * 400, media=["https://example.com/a.png"]), "return:1", ADDRESS
    )
    assert (first.identity, second.identity) == ("return:1", "return:1.1")
    assert (first.media, second.media) == (("https://example.com/a.png",), ())


def test_a_picture_and_a_template_need_no_text() -> None:
    (picture,) = drafts_of(
        Reply(" " * 2000, media=["https://example.com/a.png"]), "return:0", ADDRESS
    )
    assert picture.media
    (template,) = drafts_of(
        Reply(content_sid=HX, content_variables={"1": "x"}), "return:0", ADDRESS
    )
    assert (template.content_sid, template.content_variables) == (HX, {"1": "x"})


def test_the_parts_of_a_keyed_reply_cannot_be_taken_for_another_key() -> None:
    parts = drafts_of(Reply("word " * 400), "key:a", ADDRESS)
    (other,) = drafts_of(Reply("hello"), "key:a.1", ADDRESS)
    assert other.identity not in {part.identity for part in parts}


def test_a_fallback_is_for_whatsapp_alone_and_one_for_all_parts() -> None:
    template = Template(HX, {"1": "x"})
    parts = drafts_of(
        Reply("word " * 400, to=f"whatsapp:{ANN}", fallback=template), "key:" + "k" * 500, ADDRESS
    )
    assert [part.fallback for part in parts] == [template, template]
    (identity,) = {part.fallback_identity for part in parts}
    assert len(identity) < 100
    (text,) = drafts_of(Reply("hello", fallback=template), "return:0", ADDRESS)
    assert (text.fallback, text.fallback_identity) == (None, "")


@given(st.text(min_size=1, max_size=5000), st.integers(0, 99))
def test_every_text_becomes_sends_that_twilio_takes(text: str, number: int) -> None:
    if not text.strip():
        return
    drafts = drafts_of(Reply(text), f"return:{number}", ADDRESS)
    assert all(0 < len(draft.body.encode("utf-16-le")) // 2 <= MAX_BODY for draft in drafts)
    assert len({draft.identity for draft in drafts}) == len(drafts)


def test_the_name_of_a_reply_can_be_stored() -> None:
    for key in (f"key:{chr(0xD83D)}", 5):
        with pytest.raises(InvalidReply, match="key"):
            drafts_of(Reply("hello"), key, ADDRESS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("configured", "to", "sender"),
    [
        ("", ANN, OURS),
        ("+15005550009", ANN, "+15005550009"),
        ("MG1", ANN, "MG1"),
        ("MG1", "whatsapp:+15551230001", "MG1"),
        ("whatsapp:+15005550009", ANN, OURS),
        ("+15005550009", "whatsapp:+15551230001", "+15005550009"),
    ],
)
def test_the_sender_is_of_the_recipients_channel_where_there_is_one(
    configured: str, to: str, sender: str
) -> None:
    assert ReturnAddress(ACCOUNT, OURS, ANN, configured).sender_to(to) == sender


def test_an_empty_notice_is_none() -> None:
    assert notice("slow", "", ADDRESS) is None


async def test_a_reply_that_is_tried_again_has_the_same_number(tmp_path: Path) -> None:
    """Otherwise the next attempt, in which the store is there, would send it twice."""

    async with opened(tmp_path, handled_by()) as line:
        await line.receive("hello")
        (claim,) = (await line.store.claim(1, lease=30.0, owner="w", alone=False)).claims
        write, failures = line.store.write, 1

        async def away(claim: Claim, drafts: tuple[Draft, ...]) -> object:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("locked")
            return await write(claim, drafts)

        line.store.write = away  # type: ignore[method-assign, assignment]
        calls = HandlerCalls(claim.id, line.told)
        replier = LedgerReplier(line.store, claim, ADDRESS, calls, line.told)
        with pytest.raises(StoreUnavailable):
            await replier.reply(Reply("hello"), None, "")
        send = await replier.reply(Reply("hello"), None, "")
        other = await replier.reply(Reply("world"), None, "")
        assert (send.identity, other.identity) == ("reply:0", "reply:1")


async def test_replies_leave_in_order_while_other_conversations_go_on(tmp_path: Path) -> None:
    def answer(message: Message) -> list[str]:
        return [f"{message.body} {number}" for number in range(3)]

    async with opened(tmp_path, handled_by(answer)) as line:
        await line.receive("ann", sender=ANN)
        await line.receive("bob", sender=BOB)
        async with serving(line, sends=True):
            await line.told.until(lambda: len(line.told.of(Sent)) == 6)
        for name in ("ann", "bob"):
            sent = [body for body in line.outbox.bodies if body.startswith(name)]
            assert sent == [f"{name} 0", f"{name} 1", f"{name} 2"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a" * 400, ""),
        ("a" * 200 + "\u2019", "because of U+2019 RIGHT SINGLE QUOTATION MARK"),
        ("\u0436\u0437\u0438\u0439" * 40, "because of 4 characters"),
    ],
)
async def test_a_reply_of_many_segments_is_reported_without_its_text(
    tmp_path: Path, body: str, why: str
) -> None:
    def answer(message: Message) -> str:
        return body if message.body == "long" else "short"

    async with opened(tmp_path, handled_by(answer), segments_warning=2) as line:
        cost = Cost(segmented(body).count)
        line.outbox.answers = [
            SendOutcome(SendTrigger.ACCEPT, sid="SM1", cost=cost),
            SendOutcome(SendTrigger.ACCEPT, sid="SM2", cost=Cost(1)),
        ]
        await line.receive("long")
        async with serving(line, sends=True):
            problem = await line.told.problem(Topic.LONG_REPLY)
            await line.receive("short")
            await line.told.until(lambda: len(line.told.of(Sent)) == 2)
        assert f"{cost.segments} segments" in problem.text
        assert why in problem.text
        assert body[:3] not in problem.text
        assert line.told.topics().count(Topic.LONG_REPLY) == 1


def answers(*outcomes: SendOutcome) -> list[SendOutcome]:
    return list(outcomes)


async def test_a_postponed_send_is_repeated_and_a_lost_one_is_not(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: ["again", "lost", "refused"])) as line:
        line.outbox.answers = answers(
            SendOutcome(SendTrigger.POSTPONE, delay=0.1, error="429"),
            SendOutcome(SendTrigger.ACCEPT, sid="SM1", status="queued"),
            SendOutcome(SendTrigger.LOSE, error="no answer"),
            SendOutcome(SendTrigger.REFUSE, error_code="21211", error="no such number"),
        )
        sid = await line.receive("hello")
        async with serving(line, sends=True):
            await line.told.until(lambda: len(line.told.of(Sent)) == 4)
        assert line.outbox.bodies == ["again", "again", "lost", "refused"]
        states = [send.state for send in (await line.ledger(sid)).values()]
        assert states == [SendState.SENT, SendState.UNKNOWN, SendState.FAILED]


async def test_what_twilio_has_is_recorded_however_long_the_store_is_away(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: "hello back")) as line:
        settle_send, failures = line.store.settle_send, 2

        async def away(claim: SendClaim, outcome: SendOutcome) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("the disk is full")
            await settle_send(claim, outcome)

        line.store.settle_send = away  # type: ignore[method-assign]
        sid = await line.receive("hello")
        async with serving(line, sends=True):
            await line.told.until(lambda: len(line.told.of(Sent)) == 1)
        (send,) = (await line.ledger(sid)).values()
        assert send.state is SendState.SENT
        assert len(line.outbox.sent) == 1


async def written(line: Line, count: int) -> str:
    """Let a worker write replies that nobody sends yet."""
    sid = await line.receive(f"{count}")
    async with serving(line):
        await line.told.runs(1)
    return sid


async def test_stopping_sends_what_is_due_and_waits_for_what_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: ["one", "two"])) as line:
        sid = await written(line, 2)
        line.outbox.gate = asyncio.Event()
        sending = asyncio.create_task(line.sends.run())
        await line.outbox.begun.wait()
        line.sends.stop(20.0)
        line.outbox.gate.set()
        await sending
        states = [send.state for send in (await line.ledger(sid)).values()]
        assert states == [SendState.SENT] * 2


async def test_stopping_at_once_finishes_the_request_and_begins_none(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: ["one", "two"])) as line:
        sid = await written(line, 2)
        line.outbox.gate = asyncio.Event()
        sending = asyncio.create_task(line.sends.run())
        await line.outbox.begun.wait()
        line.sends.stop(0.0)
        line.outbox.gate.set()
        await sending
        states = [send.state for send in (await line.ledger(sid)).values()]
        assert states == [SendState.SENT, SendState.PENDING]


async def test_what_is_not_due_is_looked_for_without_a_claim(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: None)) as line:
        claims = Claims(line.store.claim_sends)
        line.store.claim_sends = claims  # type: ignore[method-assign]
        async with serving(line, sends=True):
            for _ in range(20):  # each wakes the sender
                await line.receive("hello")
            await line.told.runs(20)
        assert claims.made == []


async def test_sends_that_fall_due_one_by_one_are_claimed_together(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: "hello back")) as line:
        claims = Claims(line.store.claim_sends)
        line.store.claim_sends = claims  # type: ignore[method-assign]
        async with serving(line, sends=True):
            for n in range(50):
                await line.receive("hello", sender=f"+1555123{n:04}")
            await line.told.until(lambda: len(line.told.of(Sent)) == 50)
        for (earlier, took_some), (later, _) in pairwise(claims.made):
            assert not took_some or later - earlier > 0.009


class Claims:
    """The store's call, with a note of when it was made, and whether it took some, but not all."""

    def __init__(self, call: Callable[..., Awaitable[ClaimedSends]]) -> None:
        self._call = call
        self.made: list[tuple[float, bool]] = []

    async def __call__(self, limit: int, **options: Any) -> ClaimedSends:
        now = time.monotonic()
        claimed = await self._call(limit, **options)
        self.made.append((now, 0 < len(claimed.claims) < limit))
        return claimed


async def test_a_send_must_leave_within_the_first_half_of_its_lease(tmp_path: Path) -> None:
    """The rest is for its way: what waits behind it goes out when the lease is over."""

    async def answer(message: Message) -> str:
        return message.body

    async with opened(tmp_path, handled_by(answer), lease=600.0) as line:
        async with serving(line, sends=True):
            await line.receive("hello")
            async with asyncio.timeout(60):
                await line.outbox.begun.wait()
        (claim,) = line.outbox.sent
        assert claim.leaves_by - elapsed() == pytest.approx(300, abs=60)


async def test_the_queue_of_a_number_that_twilio_limits_holds_up_no_other(tmp_path: Path) -> None:
    """A hundred people wait behind the limit of one number, each tried again at once."""
    other, limited = "+15005550007", 100

    class Limited(Outbox):
        async def send(self, claim: SendClaim) -> SendOutcome:
            if claim.draft.sender == OURS:
                return SendOutcome(SendTrigger.POSTPONE, error_code="63038", error="a limit")
            return await super().send(claim)

    async with opened(tmp_path, handled_by(lambda: ["one", "two"])) as line:
        outbox = Limited()
        line.sends = SendLoop(line.store, outbox, line.settings, line.told, owner="worker")
        for number in range(limited):
            await line.receive("hello", sender=f"+1555200{number:04}")
        async with serving(line, sends=True):
            await line.told.until(lambda: len(line.told.of(Sent)) >= limited)
            await line.receive("hello", To=other)
            await line.told.until(lambda: len(outbox.sent) == 2)
        assert [claim.draft.sender for claim in outbox.sent] == [other, other]
        waiting = await line.store.find_sends(SendFilter(state=SendState.PENDING, limit=1000))
        assert len(waiting) == 2 * limited
        counts = await line.store.counts()
        assert counts.shortfalls == {(SendState.PENDING, "63038"): limited}
        assert counts.unanswered == limited
