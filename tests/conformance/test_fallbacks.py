"""What every store promises of fallbacks: templates instead of texts, for a closed window."""

import asyncio
from dataclasses import replace

import pytest

from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.core.messages import Send, Template
from offhook.core.whatsapp_window import WINDOW
from offhook.stores.api import Draft, SendClaim, SendOutcome, SendRequest, Settlement, Store
from testing.stores import claim_one, draft, inbound, opened
from tests.conformance.clocks import clock_of

HOUR = 3600.0
SID = "HX" + "a" * 32
OURS, PERSON = "whatsapp:+15005550006", "whatsapp:+15551230001"
ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")
CLOSED = Delivery("undelivered", "63016")
REFUSED = SendOutcome(SendTrigger.REFUSE, error_code="63016", error="outside the window")


def text(body: str = "hello", identity: str = "return:0", part: int = 0) -> Draft:
    """Return a reply with a fallback, or a further part of one."""
    return replace(
        draft(f"{identity}.{part}" if part else identity, body),
        sender=OURS,
        to=PERSON,
        fallback=Template(SID, {"1": "Ada \0"}),
        fallback_identity=f"fallback:{identity}",
    )


async def hear(store: Store, sid: str, *, ago: float = 0.0, to: str = OURS) -> None:
    """Store a message of the person's."""
    said = inbound(sid)._replace(sender=PERSON, recipient=to, age=ago)
    await store.accept(said if to == OURS else said._replace(lane=f"to {to}"))


async def answer(store: Store, *drafts: Draft, ago: float = 0.0) -> int:
    """Have a message that came some time ago be answered; return its number."""
    await hear(store, "SM1", ago=ago)
    claim = await claim_one(store)
    await store.settle(claim, Settlement(Trigger.COMPLETE, drafts=drafts))
    return claim.id


async def claimed(store: Store) -> list[SendClaim]:
    return list((await store.claim_sends(10, lease=30.0, owner="w1")).claims)


async def join(store: Store) -> None:
    """Have the next scheduled send join its lane."""
    async with asyncio.timeout(60):
        while not await store.start_due(10):  # noqa: ASYNC110 - it is only a moment
            await asyncio.sleep(0.001)


async def leave(store: Store, outcome: SendOutcome = ACCEPTED) -> SendClaim:
    """Send the only send that is due."""
    (one,) = await claimed(store)
    await store.settle_send(one, outcome)
    return one


async def sends(store: Store, message_id: int) -> tuple[Send, ...]:
    history = await store.show(message_id)
    assert history is not None
    return history.sends


def is_template(claim: SendClaim) -> bool:
    return bool(claim.fell_back) and claim.draft.content_sid == SID


@pytest.mark.parametrize(
    ("ago", "to", "falls_back"),
    [
        (WINDOW - HOUR, OURS, False),
        (WINDOW + HOUR, OURS, True),
        (0.0, "whatsapp:+15005550007", True),  # the window of another number
    ],
)
async def test_the_template_goes_when_the_last_message_is_a_day_old(
    url: str, ago: float, to: str, *, falls_back: bool
) -> None:
    async with opened(url) as store:
        id_ = await answer(store, text(), ago=ago if to == OURS else 2 * WINDOW)
        await hear(store, "SM2", ago=ago, to=to)
        one = await leave(store)
        assert is_template(one) is falls_back
        assert one.draft.content_variables.keys() == ({"1"} if falls_back else set())
        (shown,) = await sends(store, id_)
        assert (shown.state, shown.body) == (SendState.SENT, "hello")
        assert bool(shown.fallback_reason) is falls_back
        record = await store.show_send(one.id)
        assert record is not None
        assert (record.content_sid, bool(record.fell_back)) == (one.draft.content_sid, falls_back)


async def test_of_a_long_text_the_template_leaves_once(url: str) -> None:
    async with opened(url) as store:
        id_ = await answer(
            store, text("a"), text("b", part=1), text("c", part=2), draft("x", "z"), ago=2 * WINDOW
        )
        assert is_template(await leave(store))
        assert (await leave(store)).draft.body == "z"
        assert await claimed(store) == []
        states = [send.state for send in await sends(store, id_)]
        assert states == [SendState.SENT, SendState.REPLACED, SendState.REPLACED, SendState.SENT]


@pytest.mark.parametrize("known", ["by a callback", "by the answer"])
async def test_the_template_is_sent_once_when_twilio_says_that_the_window_was_closed(
    url: str, known: str
) -> None:
    async with opened(url) as store, opened(url) as other:
        id_ = await answer(store, text("a"), text("b", part=1), draft("return:1", "c"))
        if known == "by a callback":
            first = await leave(store)
            second = await leave(store, replace(ACCEPTED, sid="SM2out"))
            reports = [(first.id, "SMout"), (second.id, "SM2out"), (None, "SMout")] * 2
            await asyncio.gather(
                *(
                    one.record_delivery(send, sid, CLOSED, account_sid="AC1")
                    for send, sid in reports
                    for one in (store, other)
                )
            )
        else:
            first = await leave(store, REFUSED)
            await store.settle_send(first, REFUSED)
        assert (await leave(store)).draft.body == "c"  # what has been written before goes first
        template = await leave(store, replace(ACCEPTED, sid="SM3out"))
        assert is_template(template)
        assert (template.draft.body, template.draft.identity) == ("", "fallback:return:0")
        assert (template.message_id, template.message_sid) == (id_, "SM1")
        assert template.draft.to == PERSON
        assert await claimed(store) == []
        parts = {send.identity: send for send in await sends(store, id_)}
        assert parts["return:0"].state is parts["return:0.1"].state is SendState.REPLACED
        assert "63016" in parts["return:0"].error
        assert "63016" in parts["fallback:return:0"].fallback_reason
        counts = await store.counts()
        assert counts.shortfalls == {}
        assert sum(counts.sends.values()) == 4

        # Of a fallback there is none.
        assert await store.record_delivery(template.id, "SM3out", CLOSED, account_sid="AC1")
        assert await claimed(store) == []
        assert (await store.counts()).shortfalls == {(SendState.UNDELIVERED, "63016"): 1}


@pytest.mark.parametrize("code", ["30003", "63013"])
async def test_other_reasons_are_no_reason_for_a_template(url: str, code: str) -> None:
    async with opened(url) as store:
        await answer(store, text())
        first = await leave(store)
        missed = Delivery("undelivered", code)
        assert await store.record_delivery(first.id, "SMout", missed, account_sid="AC1")
        assert await claimed(store) == []
        again = await store.retry_send(first.id)
        assert (await leave(store, REFUSED)).id == again  # whose fallback it still is
        assert is_template(await leave(store))


async def test_who_opts_out_while_the_text_is_sent_gets_no_template(url: str) -> None:
    async with opened(url) as store:
        await answer(store, text())
        (first,) = await claimed(store)
        await hear(store, "SM2")
        stop = Settlement(Trigger.COMPLETE, cancel_lane=True)
        await store.settle(await claim_one(store), stop)
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        assert await claimed(store) == []
        assert (await store.counts()).sends[SendState.UNDELIVERED] == 1


async def test_who_opts_out_before_the_text_is_refused_gets_no_template(url: str) -> None:
    async with opened(url) as store:
        await answer(store, text())
        first = await leave(store)
        await hear(store, "SM2")
        stop = Settlement(Trigger.COMPLETE, cancel_lane=True)
        await store.settle(await claim_one(store), stop)
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        assert await claimed(store) == []


async def test_a_callback_during_the_request_has_the_template_sent_once(url: str) -> None:
    async with opened(url) as store:
        await answer(store, text())
        (first,) = await claimed(store)
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        template = await leave(store, replace(ACCEPTED, sid="SM2out"))  # it need not wait
        await store.settle_send(first, ACCEPTED)
        assert is_template(template)
        assert await claimed(store) == []
        record = await store.show_send(first.id)
        assert record is not None
        assert record.state is SendState.REPLACED


async def test_a_part_that_is_postponed_does_not_bring_a_second_template(url: str) -> None:
    async with opened(url) as store:
        await answer(store, text("a"), text("b", part=1))
        first = await leave(store)
        second = await leave(store, SendOutcome(SendTrigger.POSTPONE))
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        assert is_template(await leave(store))
        assert await claimed(store) == []
        record = await store.show_send(second.id)
        assert record is not None
        assert record.state is SendState.REPLACED


async def test_when_the_window_closes_between_two_parts_the_template_leaves_once(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await answer(store, text("a"), text("b", part=1))
        first = await leave(store)
        await clock.advance(int(WINDOW) + 1)
        assert is_template(await leave(store, replace(ACCEPTED, sid="SM2out")))
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        assert await claimed(store) == []
        record = await store.show_send(first.id)
        assert record is not None
        assert record.state is SendState.REPLACED


async def test_a_request_falls_back_when_the_person_is_not_known(url: str) -> None:
    async with opened(url) as store:
        await store.request(
            SendRequest("lane", (text(identity="key:x"),), key="key:x", delay=0.001)
        )
        await join(store)
        template = await leave(store)
        assert is_template(template)
        assert template.message_id == 0
        (again,) = await store.request(SendRequest("lane", (text(identity="key:x"),), key="key:x"))
        assert again.repeated
        assert again.content_sid == SID
        assert again.fallback_reason


async def test_a_scheduled_send_is_decided_on_when_it_is_claimed(url: str) -> None:
    async with opened(url) as store:
        await hear(store, "SM1", ago=2 * WINDOW)
        await store.request(SendRequest("lane", (text(),), delay=0.001))
        await hear(store, "SM2")
        await join(store)
        assert (await leave(store)).draft.content_sid == ""


async def test_what_a_refusal_needs_is_kept_until_the_text_has_arrived(url: str) -> None:
    async with opened(url) as store:
        id_ = await answer(store, text())
        first = await leave(store)
        assert await store.reduce(10) == 0
        assert await store.record_delivery(first.id, "SMout", CLOSED, account_sid="AC1")
        template = await leave(store, replace(ACCEPTED, sid="SM2out"))
        assert is_template(template)
        assert await store.reduce(10) == 1
        assert {send.body for send in await sends(store, id_)} == {""}


async def test_a_replay_may_write_again_what_neither_text_nor_template_has_told(url: str) -> None:
    async with opened(url) as store:
        id_ = await answer(store, text())
        await leave(store, REFUSED)
        await leave(store, SendOutcome(SendTrigger.REFUSE, error_code="21656", error="no fit"))
        assert await store.replay(id_)
        again = await claim_one(store)
        (written,) = await store.settle(again, Settlement(Trigger.COMPLETE, drafts=(text("new"),)))
        assert not written.repeated
        assert (await leave(store)).draft.body == "new"
        assert await store.replay(id_)
        (kept,) = await store.settle(
            await claim_one(store), Settlement(Trigger.COMPLETE, drafts=(text("newer"),))
        )
        assert kept.repeated
